"""From scenes to feature sets: the data sets of all tasks, encoded."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import tqdm

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encode
from unialign_jax.features import encoders
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import writer
from unialign_jax.shapes import builder
from unialign_jax.shapes import semantics
from unialign_jax.shapes import tasks
from unialign_jax.shapes import weights

TEXT_LENGTH = 24  # config.data.text_length of configs/shapes.py
# What can be learned in minutes: mostly one shape on a plain ground, in the
# middle of a region that the text names. No text would have to be cut.
WORLD = tasks.World(
  weights=(0.8, 0.16, 0.03, 0.01),
  textured=0.05,
  figure=0.05,
  overlap=0.1,
  jitter=0,
  detail=0.9,
  max_tokens=TEXT_LENGTH - 1,
)
# What the shipped model knows: several shapes and figures too, texts that
# leave things out.
WIDE = dataclasses.replace(
  WORLD, weights=(0.6, 0.28, 0.08, 0.04), figure=0.1, detail=0.75
)
WORLDS = {"plain": WORLD, "wide": WIDE}


def load_encoders() -> encode.Encoders:
  """The encoders that come with the package, and the scenes' attributes."""
  return encode.Encoders(
    text=encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER),
    image=encoders.ImageEncoder.load(weights.VAE, batch_size=32),
    semantic=semantics.SceneAttributes(),
  )


def build(
  out: str | os.PathLike,
  data_dir: str | os.PathLike,
  configs: Sequence[builder.ShapesConfig],
  nets: encode.Encoders,
  *,
  draws: int = 0,
) -> Mapping[str, manifest_lib.Manifest]:
  """Writes, continues or finds the data and feature sets of every config.

  Args:
    out: folder of the feature sets.
    data_dir: folder of the tfds data sets.
    configs: one a task.
    nets: what the samples are encoded with.
    draws: masked draws stored with each caption.

  Returns:
    The manifests by "split/task".

  Raises:
    ValueError: the folders hold sets that were made in another way.
  """
  for config in tqdm.tqdm(configs, "pictures and texts", unit="task"):
    builder.prepare(data_dir, config)
  manifests = {}
  for config, split in itertools.product(configs, builder.SPLITS):
    if count := getattr(config, split):
      name = f"{split}/{config.task}"
      folder = pathlib.Path(out) / name
      settings = writer.WriterConfig(
        text_length=TEXT_LENGTH, draws=draws, seed=config.seed
      )
      finished = (folder / manifest_lib.FILENAME).exists()
      samples = builder.samples(data_dir, split, config.name)
      # Closed here, or the last state of a stopped bar follows the message.
      with _bar(samples, name, count, disable=finished) as bar:
        manifests[name] = writer.write_features(bar, folder, nets, settings)
      _check_count(folder, manifests[name].num_records, count)
  return manifests


def _bar(
  samples: Iterable[sample_lib.Sample], name: str, count: int, *, disable: bool
) -> tqdm.tqdm:
  return tqdm.tqdm(
    samples,
    f"{name:24}",
    count,
    unit="sample",
    mininterval=0.5,
    disable=disable,
  )


def _check_count(folder: pathlib.Path, got: int, expected: int) -> None:
  """A finished set is taken as it is, so it must be of this data."""
  if got != expected:
    raise ValueError(
      f"feature set {folder}: got {got} records, expected {expected}; it was"
      " written with other counts: remove the folder, or give another --out"
    )
