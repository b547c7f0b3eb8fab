"""A run that is killed again and again, beside one that is left alone.

  python -m unialign_jax.bench soak [--minutes=30] [--least=60] [--most=180]
    [--config=shapes.py] [--seed=0] [--out=DIR] [--json=FILE] [--plot=FILE]

Makes features of the Shapes world, trains on them under launch/run_forever.sh
and ends the training process at random moments, three of four times with
SIGKILL and else with SIGTERM. After --minutes the run is asked to save and end,
and its steps are taken once more, undisturbed. Every loss of every step and the
last checkpoint have to be equal bit for bit, memory, files and threads flat,
and no temporary file left; the status is 1 otherwise. Without --out nothing
stays.
"""

import pathlib
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from unialign_jax.bench import outputs
from unialign_jax.bench import soak_report
from unialign_jax.bench import soak_run
from unialign_jax.shapes import builder
from unialign_jax.shapes import feature_sets

_ENDLESS = 10**9  # steps of the run that is killed
_TASKS = ("text_to_image", "edit", "understanding")


def define_flags() -> None:
  flags.DEFINE_float(
    "minutes", 30.0, "Of the run that is killed, from its first step.", 0.1
  )
  flags.DEFINE_float("least", 60.0, "Seconds of a process's steps.", 1.0)
  flags.DEFINE_float("most", 180.0, "Likewise, at most.", 1.0)
  flags.DEFINE_string("config", "shapes.py", "Of unialign_jax.train.")
  flags.DEFINE_integer("records", 512, "Of each task.", 8)
  flags.DEFINE_integer("checkpoint_every", 50, "Steps.", 1)
  flags.DEFINE_integer("seed", 0, "Of the moments.")
  flags.DEFINE_string("out", None, "Folder for both runs; else a temporary.")
  outputs.define_flags()


def main(argv: Sequence[str]) -> None:
  del argv  # no more than flags
  outputs.check()
  values = flags.FLAGS
  if values.least > values.most:
    raise ValueError(
      f"--least: got {values.least}, expected at most --most={values.most}."
    )
  if values.out is None:
    with tempfile.TemporaryDirectory(prefix="unialign-soak-") as folder:
      _soak(pathlib.Path(folder))
    return
  folder = pathlib.Path(values.out).absolute()
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(f"--out: got {folder}, in use; expected an empty folder.")
  _soak(folder)


def _soak(folder: pathlib.Path) -> None:
  values = flags.FLAGS
  _make_features(folder / "features")
  kills = soak_run.Kills(
    least=values.least,
    most=values.most,
    seed=values.seed,
    until=60 * values.minutes,
  )
  print(f"killed again and again, for {values.minutes:g} minutes", flush=True)
  killed = _train(folder, "killed", _ENDLESS, kills)
  steps = soak_report.last_step(folder / "killed")
  print(f"the same {steps} steps, undisturbed", flush=True)
  alone = _train(folder, "alone", steps, None)
  report = soak_report.compare(
    folder, killed, alone, steps=steps, seed=values.seed
  )
  print(report.text())
  outputs.write(report.tree(), report.draw())
  if report.failures:
    sys.exit(1)


def _make_features(folder: pathlib.Path) -> None:
  configs = [
    builder.ShapesConfig(
      task=task,
      train=flags.FLAGS.records,
      validation=8,
      test=0,
      world=feature_sets.WORLD,
    )
    for task in _TASKS
  ]
  feature_sets.build(
    folder, folder / "tfds", configs, feature_sets.load_encoders()
  )


def _train(
  folder: pathlib.Path, name: str, steps: int, kills: soak_run.Kills | None
) -> soak_run.Watched:
  """Both runs are alike but for the last step."""
  sets = [(f"{folder}/features/train/{task}", 1 / 3) for task in _TASKS]
  config = {
    "data.sources": repr(tuple(sets)),
    "train.steps": steps,
    # Whatever the last step is.
    "optimizer.schedule": "constant",
    # A line is a mean since the last: after a kill it would be of fewer steps.
    "train.log_every": 1,
    "train.checkpoint_every": flags.FLAGS.checkpoint_every,
    "train.sample_every": 0,
  }
  command = [f"--config={flags.FLAGS.config}"]
  command += [f"--config.{key}={value}" for key, value in config.items()]
  return soak_run.run(command, folder / name, folder / f"{name}_by", kills)
