"""What happens when the newest checkpoint is not what was written.

It is looked at before anything is read. A damaged one is renamed, so that it
neither stands in the way of the next save of its step nor is lost, and the
newest sound one is used. All processes use the same.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import jax
from absl import logging

from unialign_jax.checkpoint import agreement
from unialign_jax.checkpoint import checksums
from unialign_jax.checkpoint import folders

_PREFIX = "damaged_"
_UNSEEN = "not looked at: "


def set_aside(workdir: pathlib.Path) -> int | None:
  """Renames damaged checkpoints that are newer than the newest sound one.

  Every process looks at its share of the files.

  Returns:
    The newest sound step; None where there is no checkpoint at all.

  Raises:
    ValueError: none is sound; then nothing is renamed.
  """
  damaged, newest = _look(workdir)
  if damaged and newest is None:
    raise ValueError(
      f"--workdir {workdir}: none of its checkpoints is sound, expected one to"
      f" go on from:\n  {_lines(damaged)}\nCopy one of them again; or, to"
      " begin anew, use another --workdir."
    )
  for step in damaged:
    agreement.first_acts(lambda step=step: _rename(workdir, step))
  if damaged and jax.process_index() == 0:
    logging.error(
      "%s: damaged checkpoints, now named %s*:\n  %s\nThe run goes on from"
      " step %d. (--strict ends it instead.)",
      workdir / folders.FOLDER,
      _PREFIX,
      _lines(damaged),
      newest,
    )
  return newest


def refuse_damage(workdir: str | os.PathLike) -> None:
  """Sees that a run, if there is one, would go on from its newest checkpoint.

  Raises:
    ValueError: the newest is damaged. Nothing is renamed.
  """
  workdir = pathlib.Path(workdir).absolute()
  damaged, newest = _look(workdir)
  if damaged:
    raise ValueError(
      f"--workdir {workdir}: damaged checkpoints:\n  {_lines(damaged)}\n"
      + (
        f"Copy the newest again; or, without --strict, go on from {newest}."
        if newest is not None
        else "None is sound; copy one of them again."
      )
    )


def check(folder: pathlib.Path, *, key: str = "", shared: bool = False) -> None:
  """Sees that a checkpoint that is about to be read is sound.

  Args:
    folder: of the step.
    key: what the message begins with.
    shared: whether all processes are here, each to look at its share.

  Raises:
    ValueError: it is damaged.
  """
  if told := _problem(folder) if shared else checksums.problem(folder):
    raise ValueError(f"{key}{folder} is damaged: {told}. {_remedy(folder)}")


@contextlib.contextmanager
def readable(folder: pathlib.Path) -> Iterator[None]:
  """Makes one error of all that storage may raise at a damaged checkpoint.

  With checksums damage is found before anything is read, and what is raised
  then has another cause (a device without room, say): it stays as it is.

  Raises:
    ValueError: a step without checksums cannot be read.
  """
  try:
    yield
  except Exception as error:  # orbax and its storage have no common one
    if checksums.is_listed(folder):
      raise
    reason = str(error).strip().split("\n")[0]
    raise ValueError(
      f"{folder} cannot be read ({type(error).__name__}: {reason})."
      f" {_remedy(folder)}"
    ) from error


def _look(workdir: pathlib.Path) -> tuple[dict[int, str], int | None]:
  """Damaged steps with what is wrong, newest first; the newest sound step."""
  damaged: dict[int, str] = {}
  while True:
    # In a shared folder, processes may see different states for a while.
    older = [s for s in folders.steps(workdir) if s not in damaged]
    step = agreement.gather(str(older[-1] if older else ""))[0]
    if not step:
      return damaged, None
    told = _problem(folders.step_folder(workdir, int(step)))
    if not told:
      return damaged, int(step)
    damaged[int(step)] = told


def _problem(folder: pathlib.Path) -> str:
  """What any process has found, told by all alike.

  Raises:
    OSError: one of them could not look.
  """
  try:
    told = checksums.problem(folder, jax.process_index(), jax.process_count())
  except OSError as error:  # the others must not wait for this one
    told = f"{_UNSEEN}{error}"
  told = next((t for t in agreement.gather(told) if t), "")
  if told.startswith(_UNSEEN):
    raise OSError(f"{folder}: {told.removeprefix(_UNSEEN)}")
  return told


def _lines(damaged: dict[int, str]) -> str:
  return "\n  ".join(f"step {step}: {told}" for step, told in damaged.items())


def _remedy(folder: pathlib.Path) -> str:
  return (
    f"Copy it again; or rename it to {_PREFIX}{folder.name}, and the one"
    " before it is the latest."
  )


def _rename(workdir: pathlib.Path, step: int) -> None:
  folder = folders.step_folder(workdir, step)
  name, number = f"{_PREFIX}{folder.name}", 1
  while (target := folder.with_name(name)).exists():
    number += 1
    name = f"{_PREFIX}{folder.name}_{number}"
  folder.rename(target)
