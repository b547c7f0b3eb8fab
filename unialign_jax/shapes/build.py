"""Writes the Shapes world and its feature sets, ready for training.

  python -m unialign_jax.shapes.build --out=runs/shapes/features

makes the tfds data set of every task (ArrayRecord, in --data_dir) and encodes
it with the shipped encoders into OUT/{train,validation,test}/{task}. A second
run finds what is finished; a run that was stopped is continued.
"""

import itertools
import pathlib
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow_datasets as tfds
import tqdm
from absl import app
from absl import flags

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
# Mostly one or two shapes, and no text that would have to be cut.
WORLD = tasks.World(weights=(0.6, 0.3, 0.07, 0.03), max_tokens=TEXT_LENGTH - 1)

_OUT = flags.DEFINE_string(
  "out", "runs/shapes/features", "Folder of the feature sets."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of the tfds data sets; OUT/tfds by default."
)
_TRAIN = flags.DEFINE_integer(
  "train",
  None,
  "Training samples of each task; by default 8000 of text_to_image and 1500 of"
  " the others.",
)
_VALIDATION = flags.DEFINE_integer(
  "validation", 200, "Validation samples of each task."
)
_TEST = flags.DEFINE_integer("test", 200, "Test samples of each task.")
_TASKS = flags.DEFINE_list("tasks", list(sample_lib.TASKS), "Which tasks.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of scenes, texts and draws.")
_DRAWS = flags.DEFINE_integer(
  "draws",
  0,
  "Masked draws stored with each caption, for config.data.text_features ="
  ' "stored"; 0 for "online".',
)


def load_encoders() -> encode.Encoders:
  """The encoders that come with the package, and the scenes' attributes."""
  return encode.Encoders(
    text=encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER),
    image=encoders.ImageEncoder.load(weights.VAE, batch_size=32),
    semantic=semantics.SceneAttributes(),
  )


def build(
  out: str | pathlib.Path,
  data_dir: str | pathlib.Path,
  configs: Sequence[builder.ShapesConfig],
  *,
  draws: int = 0,
) -> Mapping[str, manifest_lib.Manifest]:
  """Writes, continues or finds the data and feature sets of every config.

  Args:
    out: folder of the feature sets.
    data_dir: folder of the tfds data sets.
    configs: one a task.
    draws: masked draws a caption.

  Returns:
    The manifests by "split/task".

  Raises:
    ValueError: the folders hold sets that were made in another way.
  """
  nets = load_encoders()
  manifests = {}
  for config in configs:
    builder.prepare(data_dir, config)
  for config, split in itertools.product(configs, builder.SPLITS):
    if count := getattr(config, split):
      name = f"{split}/{config.task}"
      settings = writer.WriterConfig(
        text_length=TEXT_LENGTH, draws=draws, seed=config.seed
      )
      samples = _with_progress(data_dir, split, config, count)
      folder = pathlib.Path(out) / name
      manifests[name] = writer.write_features(samples, folder, nets, settings)
      _check_count(folder, manifests[name].num_records, count)
  return manifests


def _with_progress(
  data_dir: str | pathlib.Path,
  split: str,
  config: builder.ShapesConfig,
  count: int,
) -> Iterator[sample_lib.Sample]:
  """The samples of a split; a bar shows how many were asked for."""
  samples = builder.samples(data_dir, split, config.name)
  yield from tqdm.tqdm(
    samples, f"{split}/{config.task}", count, unit=" samples", mininterval=1
  )


def _check_count(folder: pathlib.Path, got: int, expected: int) -> None:
  """A finished set is taken as it is, so it must be of this data."""
  if got != expected:
    raise ValueError(
      f"feature set {folder}: got {got} records, expected {expected}; it was"
      " written with other counts: remove the folder, or give another --out"
    )


def _configs() -> list[builder.ShapesConfig]:
  return [
    builder.ShapesConfig(
      task=task,
      train=_default_train(task) if _TRAIN.value is None else _TRAIN.value,
      validation=_VALIDATION.value,
      test=_TEST.value,
      seed=_SEED.value,
      world=WORLD,
    )
    for task in _TASKS.value
  ]


def _default_train(task: str) -> int:
  return 8000 if task == "text_to_image" else 1500


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  start = time.monotonic()
  tfds.disable_progress_bar()
  data_dir = _DATA_DIR.value or str(pathlib.Path(_OUT.value) / "tfds")
  manifests = build(_OUT.value, data_dir, _configs(), draws=_DRAWS.value)
  for name, manifest in manifests.items():
    print(f"{_OUT.value}/{name}: {manifest.num_records} records")
  print(f"took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
  app.run(main)
