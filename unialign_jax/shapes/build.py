"""Writes the Shapes world and its feature sets, ready for training.

  python -m unialign_jax.shapes.build --out=runs/shapes/features

makes the tfds data set of every task (ArrayRecord, in --data_dir) and encodes
it with the shipped encoders into OUT/{train,validation,test}/{task}. A second
run finds what is finished; a run that was stopped is continued.
"""

import pathlib
import sys
import time
from collections.abc import Sequence

import tensorflow_datasets as tfds
from absl import app
from absl import flags
from absl import logging

from unialign_jax import interrupts
from unialign_jax.data import sample as sample_lib
from unialign_jax.shapes import builder
from unialign_jax.shapes import feature_sets

_INTERRUPTED = 130  # as a shell has it after Ctrl-C
# Training samples by world and task; OTHERS for tasks that are not named.
_OTHERS = "others"
_DEFAULT_TRAIN = {
  "plain": {"text_to_image": 8000, _OTHERS: 1500},
  "wide": {
    "text_to_image": 24_000,
    "edit": 12_000,
    "understanding": 8000,
    _OTHERS: 4000,
  },
}
_OUT = flags.DEFINE_string(
  "out", "runs/shapes/features", "Folder of the feature sets."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of the tfds data sets; OUT/tfds by default."
)
_TRAIN = flags.DEFINE_integer(
  "train",
  None,
  f"Training samples of each task; by default of the world: {_DEFAULT_TRAIN}.",
)
_WORLD = flags.DEFINE_enum(
  "world",
  "plain",
  list(feature_sets.WORLDS),
  "What scenes are drawn: what is learned in minutes, or in an hour.",
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


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  # tfds warns of every configuration that is not in its own catalogue.
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  start = time.monotonic()
  try:
    manifests = feature_sets.build(
      _OUT.value,
      _DATA_DIR.value or pathlib.Path(_OUT.value) / "tfds",
      [_config(task) for task in _TASKS.value],
      feature_sets.load_encoders(),
      draws=_DRAWS.value,
    )
  except ValueError as error:
    sys.exit(f"error: {error}")
  for name, manifest in manifests.items():
    print(f"{_OUT.value}/{name}: {manifest.num_records} records")
  print(f"built in {time.monotonic() - start:.0f} s")


def _config(task: str) -> builder.ShapesConfig:
  train = _TRAIN.value
  if train is None:
    counts = _DEFAULT_TRAIN[_WORLD.value]
    train = counts.get(task, counts[_OTHERS])
  return builder.ShapesConfig(
    task=task,
    train=train,
    validation=_VALIDATION.value,
    test=_TEST.value,
    seed=_SEED.value,
    world=feature_sets.WORLDS[_WORLD.value],
  )


def cli() -> None:
  """Runs `main`; Ctrl-C is one message."""
  interrupts.keep()
  try:
    app.run(main)
  except KeyboardInterrupt:
    print(
      "\nstopped; the same command goes on with the first unfinished shard",
      file=sys.stderr,
    )
    sys.exit(_INTERRUPTED)


if __name__ == "__main__":
  cli()
