"""From raw files of nine formats to a stage-3 checkpoint that draws and writes.

Tiny random networks of the very classes of SD3's T5 and VAE and of Qwen2.5-VL
encode them; `job.run` is what the precompute command runs, `loop.run` what the
train command runs. One of the sets is real: the photographs and captions of
SemGen-Bench in $UNIALIGN_SEMGEN, which stand in as targets of their own edits.
"""

import functools
import json
import pathlib
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from tests import raw_sets
from tests.data.sources import written
from tests.features import tiny_encoders
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.features import encoders
from unialign_jax.features import job
from unialign_jax.features import settings
from unialign_jax.features import verify
from unialign_jax.features import worker
from unialign_jax.training import loop

pytestmark = pytest.mark.skipif(
  not raw_sets.PHOTOGRAPHS,
  reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench",
)
_SIDE = 16  # pixels
_TEXT_LENGTH = 24
_STEPS = 4
_COUNT = raw_sets.COUNT
_WORKER = worker.Worker(0, 1)


# Feature set -> source, folder of the raw files, options, whether captions are
# to be filled in, condition images, records.
_SETS = {
  "text_to_image_2m": ("text_to_image_2m", "t2i", {}, False, 0, _COUNT),
  "photographs": ("folder", "photographs", {}, False, 0, 150),
  "photograph_edits": (
    "unialign_jsonl",
    "photograph_edits",
    {"kind": "edit"},
    False,
    1,
    150,
  ),
  "anyedit": ("anyedit", "anyedit", {}, False, 1, _COUNT),
  "uniworld_perception": (
    "uniworld",
    "uniworld",
    {"part": "perception", "min_side": "0"},
    True,
    1,
    _COUNT,
  ),
  "subjects200k": ("subjects200k", "subjects", {}, False, 1, _COUNT),
  "blip3o_60k": ("blip3o", "blip3o", {}, False, 0, _COUNT),
  "sharegpt4o_image": (
    "sharegpt4o_image",
    "sharegpt",
    {},
    False,
    0,
    _COUNT,
  ),
  "llava_onevision": ("llava_onevision", "llava", {}, False, 0, _COUNT),
}
_STAGES = {
  1: ("text_to_image_2m", "photographs"),
  2: (
    "photographs",
    "photograph_edits",
    "anyedit",
    "uniworld_perception",
    "subjects200k",
  ),
  3: ("blip3o_60k", "sharegpt4o_image", "llava_onevision"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def networks(root: pathlib.Path) -> dict[str, str]:
  """Folders as their publishers save them, by what the configs call them."""
  text = str(tiny_encoders.save_t5(root / "t5"))
  image = str(tiny_encoders.save_vae(root / "vae"))
  tiny_encoders.save_qwen(root / "qwen")
  return {"text": text, "tokenizer": text, "image": image}


@pytest.fixture(scope="module", autouse=True)
def load_once() -> Iterator[None]:
  """Nine sets with the same encoders: loaded and compiled once."""
  with pytest.MonkeyPatch.context() as patch:
    load = functools.cache(settings.load_encoders)
    patch.setattr(settings, "load_encoders", load)
    yield


@pytest.fixture(scope="module")
def features(root: pathlib.Path, networks: dict[str, str]) -> pathlib.Path:
  """All feature sets, from the raw files."""
  data = root / "raw"
  data.mkdir()
  raw = raw_sets.Raw()
  raw_sets.photographs(data)
  for folder, write in (
    ("t2i", raw_sets.text_to_image_2m),
    ("anyedit", raw_sets.anyedit),
    ("uniworld", raw_sets.uniworld),
    ("subjects", raw_sets.subjects200k),
    ("blip3o", raw_sets.blip3o),
    ("sharegpt", raw_sets.sharegpt4o_image),
    ("llava", raw_sets.llava_onevision),
  ):
    write(data / folder, raw)
  values = config_lib.load_file("features.py:tiny")
  values.encoders.update(
    **networks, semantic=f"qwen:{root / 'qwen'}", semantic_dtype="float32"
  )
  values.pictures.resolution = _SIDE
  values.writer.update(text_length=_TEXT_LENGTH, batch_size=32)
  config = settings.from_dict(values)
  for name, (source, folder, options, fill, _, _) in _SETS.items():
    captions = root / f"{name}.jsonl" if fill else ""
    described = job.Data(
      source=source, root=data / folder, options=options, captions=captions
    )
    if fill:
      _write_captions(described, captions)
    assert job.run(described, root / "features" / name, config, _WORKER)
  return root / "features"


def _write_captions(data: job.Data, path: pathlib.Path) -> None:
  """What `recaption` writes, with a fixed text."""
  source = job.registry.open_source(data.source, data.root, **data.options)
  lines = [
    {
      "source": source[i].source,
      "key": source[i].key,
      "image_sha256": "",
      "caption": "white edges on black",
      "model": "test",
      "prompt": "map-1",
    }
    for i in range(len(source))
  ]
  written.json_lines(path, lines)


def _config(
  stage: int,
  root: pathlib.Path,
  features: pathlib.Path,
  networks: dict[str, str],
) -> ml_collections.ConfigDict:
  values = config_lib.load_file(f"stage{stage}.py:tiny")
  text = encoders.TextEncoder.load(networks["text"], networks["tokenizer"])
  values.encoders.update(networks)
  values.model.update(
    in_channels=tiny_encoders.LATENT_CHANNELS,
    text_dim=tiny_encoders.T5_WIDTH,
    semantic_dim=tiny_encoders.QWEN_WIDTH,
    vocab_size=text.vocab_size,
  )
  values.data.update(
    root=str(features),
    sources=tuple((name, 1.0) for name in _STAGES[stage]),
    resolution=_SIDE,
    latent_factor=tiny_encoders.DOWNSAMPLING,
    text_length=_TEXT_LENGTH,
    mask_id=text.mask_id,
  )
  values.seed = stage  # fresh weights of another stage would be others
  values.train.update(steps=_STEPS, checkpoint_every=_STEPS)
  if stage > 1:
    values.train.init_from = str(root / f"run{stage - 1}")
  if stage == 3:
    values.train.sample_every = _STEPS
    values.sample.sources = ("blip3o_60k", "llava_onevision")
  return values


@pytest.fixture(scope="module")
def runs(
  root: pathlib.Path, features: pathlib.Path, networks: dict[str, str]
) -> list[pathlib.Path]:
  """The workdirs of the three stages, each begun with the one before."""
  workdirs = []
  for stage in _STAGES:
    workdirs.append(root / f"run{stage}")
    values = _config(stage, root, features, networks)
    assert loop.run(config_lib.from_dict(values), workdirs[-1]) == _STEPS
  return workdirs


@pytest.mark.parametrize("name", _SETS)
def test_every_raw_sample_is_a_record(
  name: str, features: pathlib.Path
) -> None:
  *_, num_cond, records = _SETS[name]
  report = verify.verify(features / name)
  assert not report.faults
  manifest = verify.manifest_lib.load(features / name)
  assert manifest.num_records == records
  assert manifest.layout.num_cond == num_cond
  assert manifest.layout.semantic_dim == tiny_encoders.QWEN_WIDTH


def test_losses_are_finite_and_every_task_was_trained(
  runs: list[pathlib.Path],
) -> None:
  tasks = set()
  for workdir in runs:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == _STEPS
    for line in map(json.loads, lines):
      losses = {k: v for k, v in line.items() if k.startswith("loss/")}
      assert np.isfinite(list(losses.values())).all()
      tasks |= {name.split("/")[2] for name in losses if name.count("/") == 2}
  assert tasks >= {"text_to_image", "understanding"}
  assert tasks & {"edit", "perception", "personalise"}


def test_stages_pass_their_weights_on(runs: list[pathlib.Path]) -> None:
  """Four small steps leave the weights near those of the stage before."""

  def flat(workdir: pathlib.Path) -> np.ndarray:
    _, ema = checkpoint.load_params(workdir)
    leaves = jax.tree.leaves(ema)
    return np.concatenate([np.asarray(x).ravel() for x in leaves])

  first, second, third = map(flat, runs)
  size = np.linalg.norm(first)
  assert 0 < np.linalg.norm(second - first) < 1e-3 * size
  assert 0 < np.linalg.norm(third - second) < 1e-3 * size


def test_the_last_checkpoint_draws_and_writes(
  runs: list[pathlib.Path],
) -> None:
  samples = runs[-1] / "samples"
  for task in ("text_to_image", "understanding"):
    stem = samples / f"step_{_STEPS:08d}_{task}"
    picture = np.asarray(Image.open(stem.with_suffix(".png")))
    assert picture.std() > 1
    texts = stem.with_suffix(".txt").read_text().splitlines()
    assert len(texts) == 2
    assert all(" -> " in text for text in texts)
