"""`WORKDIR[@STEP]`: the weights of a checkpoint, or one clear error."""

import pathlib
from typing import Any

from unialign_jax import checkpoint
from unialign_jax import config as config_lib

_PREFIX = "step_"


def read(name: str, *, ema: bool) -> tuple[config_lib.Config, Any, str, int]:
  """Reads a checkpoint that a run has finished.

  Args:
    name: folder of the run, the latest step; or with `@STEP`.
    ema: the averaged weights, or the trained ones.

  Returns:
    The config of the run, its parameters, its name (the last two parts of its
    path), and the step.

  Raises:
    ValueError: no such run or step, or a checkpoint that cannot be read.
  """
  workdir, step = _parse(name)
  if not workdir.is_dir():
    raise ValueError(
      f"--checkpoint: {workdir} is no folder, expected the --workdir of a run,"
      " alone or followed by @STEP."
    )
  found = _steps(workdir)
  if not found or (step is not None and step not in found):
    raise ValueError(
      f"--checkpoint: {workdir} has checkpoints {found}, expected"
      f" {'any' if step is None else step}; name one of them, or train first."
    )
  step = found[-1] if step is None else step
  try:
    config, params = checkpoint.load_params(workdir, step=step, ema=ema)
  except Exception as error:  # orbax and its storage have no common one
    reason = str(error).strip().split("\n")[0]
    raise ValueError(
      f"--checkpoint: step {step} of {workdir} cannot be read"
      f" ({type(error).__name__}: {reason}). Copy it again, or name another of"
      f" {found}."
    ) from error
  # "run" alone says little; the whole path is nobody else's business.
  return config, params, "/".join(workdir.resolve().parts[-2:]), step


def _parse(name: str) -> tuple[pathlib.Path, int | None]:
  """Folder and step; a folder whose own name has an @ wins."""
  workdir, at, step = name.rpartition("@")
  if at and step.isdigit() and not pathlib.Path(name).is_dir():
    return pathlib.Path(workdir), int(step)
  return pathlib.Path(name), None


def _steps(workdir: pathlib.Path) -> list[int]:
  """Finished checkpoints; unfinished ones have a longer name."""
  names = (p.name for p in (workdir / checkpoint.FOLDER).glob(f"{_PREFIX}*"))
  numbers = (name.removeprefix(_PREFIX) for name in names)
  return sorted(int(number) for number in numbers if number.isdigit())
