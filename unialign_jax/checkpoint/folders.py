"""What lies where in a workdir, and the config that says whose run it is."""

import errno
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp

FOLDER = "checkpoints"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.json"  # of weights that no run here has trained
# Where orbax moves old steps, whole; they are deleted from there.
TRASH = "deleted"
# What orbax appends to the name of a step while it is written.
PARTIAL = ".orbax-checkpoint-tmp"
NAMES = ocp.path.step.standard_name_format(
  step_prefix="step", step_format_fixed_length=8
)
# The same names, listed by process 0 for all of them.
SHARED_NAMES = ocp.path.step.standard_name_format(
  step_prefix="step",
  step_format_fixed_length=8,
  single_host_load_and_broadcast=True,
)
# Keys of config.model that change how the network is computed, not what it is.
_FREE = ("scan_layers", "remat", "attention", "dtype")
# No other start finds these cured.
_MISTAKES = {
  errno.EACCES: "no permission to write there",
  errno.EPERM: "no permission to write there",
  errno.EROFS: "the file system is read-only",
  errno.EEXIST: "it is a file",
  errno.ENOTDIR: "a part of the path is a file",
  errno.ENAMETOOLONG: "the name is too long",
}


def step_folder(workdir: pathlib.Path, step: int) -> pathlib.Path:
  """Where the checkpoint of a step is, or would be."""
  return workdir / FOLDER / NAMES.build_name(step)


def steps(workdir: pathlib.Path) -> list[int]:
  """Steps of the finished checkpoints, the oldest first."""
  return sorted(found.step for found in NAMES.find_all(workdir / FOLDER))


def find_step(
  workdir: pathlib.Path, step: int | None, key: str = ""
) -> pathlib.Path:
  """The folder of a finished checkpoint, by default the latest.

  Args:
    workdir: of the run.
    step: which one.
    key: what the message begins with.

  Raises:
    ValueError: there is none.
  """
  found = steps(workdir)
  if not found or (step is not None and step not in found):
    raise ValueError(
      f"{key}{workdir}: got checkpoints {found}, expected"
      f" {'any' if step is None else step}; train first, or correct the folder."
    )
  return step_folder(workdir, found[-1] if step is None else step)


def make_workdir(workdir: pathlib.Path) -> None:
  """Makes the folder of a run, and sees that it can be written to.

  Raises:
    ValueError: it cannot, now or at another start.
    OSError: anything else, a full disk for one.
  """
  try:
    for folder in (workdir, workdir / FOLDER):
      folder.mkdir(parents=True, exist_ok=True)
      probe = folder / f".writable-{os.getpid()}"
      probe.touch()  # asked for, permission is not always what is granted
      probe.unlink()
  except OSError as error:
    if error.errno not in _MISTAKES:
      raise
    raise ValueError(
      f"--workdir: got {workdir}, where no run can be kept:"
      f" {_MISTAKES[error.errno]} ({error.filename}); expected a folder to"
      " write to, or the name of a new one."
    ) from error


def clean(workdir: pathlib.Path) -> None:
  """Deletes what a kill has left: half written, or half deleted."""
  folder = workdir / FOLDER
  for left in (*folder.glob(f"*{PARTIAL}*"), folder / TRASH):
    shutil.rmtree(left, ignore_errors=True)


def check(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Sees that a workdir fits a config.

  Args:
    workdir: of the run.
    config: as `config_lib.dumps` has it.

  Raises:
    ValueError: the workdir holds imported weights, or a run of another model.
  """
  if (workdir / WEIGHTS_FILE).exists():
    raise ValueError(
      f"--workdir {workdir} holds imported weights, not a run; use another"
      f" --workdir and --config.train.init_from={workdir}."
    )
  path = workdir / CONFIG_FILE
  # A workdir is one run: its network and optimizer state cannot change.
  if path.exists() and (changed := changes(config, read_config(workdir))):
    raise ValueError(
      f"--workdir {workdir} holds a run of another model:\n  "
      + "\n  ".join(changed)
      + "\nUse another --workdir, or the config that the run was begun with."
    )


def write_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes the config of a run down, as `config_lib.dumps` has it."""
  _write_whole(workdir / CONFIG_FILE, json.dumps(config, indent=2))


def read_item(folder: pathlib.Path, name: str) -> dict[str, Any]:
  """`data` or `config` of a step, from its folder."""
  return json.loads((folder / name / "metadata").read_text())


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
  """The config of a run.

  Raises:
    ValueError: it is not there, or damaged.
  """
  path = workdir / CONFIG_FILE
  try:
    config = json.loads(path.read_text())
    if not isinstance(config.get("model"), dict):
      raise ValueError("it has no group 'model'")
  except (OSError, ValueError, AttributeError) as error:
    copies = sorted((workdir / FOLDER).glob("step_*/config/metadata"))
    raise ValueError(
      f"{path}: got no readable JSON ({error}), expected the config of the run"
      " in this folder; "
      + (f"{copies[-1]} is a copy of it." if copies else "restore the file, or")
      + ("" if copies else " use another folder.")
    ) from error
  return config


def changes(config: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
  """Keys of the network in which a run differs from a saved one."""
  old = saved["model"]
  return [
    f"config.model.{key}: got {value!r}, the run has {old.get(key)!r}"
    for key, value in config["model"].items()
    if key not in _FREE and old.get(key) != value
  ]


def _write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a small file so that a kill or a full disk leaves the old one."""
  partial = path.with_name(path.name + ".tmp")
  try:
    with partial.open("w") as f:
      f.write(text)
      f.flush()
      os.fsync(f.fileno())
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
