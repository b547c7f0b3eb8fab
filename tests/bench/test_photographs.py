"""The pictures are read by the folder source, and large as photographs."""

from unialign_jax.bench import photographs
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import registry


def test_pictures(tmp_path) -> None:
  folder = tmp_path / "pictures"
  photographs.write(folder, 3)
  source = registry.open_source("folder", folder)
  assert len(source) == 3
  sizes = [len(source[i].target.data) for i in range(3)]
  # Two to six bits a pixel.
  assert all(75_000 < size < 230_000 for size in sizes), sizes
  samples = [decoded.Decoded(source, side=64)[i] for i in range(3)]
  assert len({sample.caption for sample in samples}) == 3
  assert all(len(sample.caption.split()) > 20 for sample in samples)
  for sample in samples:  # coarse colours are left when the grain is averaged
    assert sample.target_image.std(axis=(0, 1)).min() > 10
