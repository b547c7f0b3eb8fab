"""A save that failed, in words that help.

No failed save is tried again from here. The state that it was of has been
donated to the next step; with several processes only the one that failed
knows, and the others wait for it; and a disk that is full is full a second
later. The run ends, and what starts it again (launch/run_forever.sh waits
longer each time) loses the steps since the checkpoint before, no more.
"""

import errno
import os
import pathlib
import shutil
import time

from unialign_jax.checkpoint import folders

_FULL = ("No space left", "quota exceeded", "File too large")
_ATTEMPTS = 20


class SaveError(RuntimeError):
  """A checkpoint could not be saved; older ones are as they were.

  No ValueError: another start may find the cause gone.
  """


def explain(
  workdir: pathlib.Path, step: int | None, nbytes: int, error: BaseException
) -> SaveError:
  """What a failed save is reported as.

  Args:
    workdir: of the run.
    step: of the save, where it is known.
    nbytes: of its arrays, on all processes together.
    error: what orbax, or the disk, has said.
  """
  left = folders.steps(workdir)
  older = [s for s in left if s != step]
  reason = str(error).strip().split("\n")[0]
  if _is_full(error):
    advice = "make room (config.train.keep_checkpoints is how many are kept)"
  else:
    advice = "mend what is said there"
  return SaveError(
    f"the checkpoint of step {step} could not be saved in"
    f" {workdir / folders.FOLDER}: {type(error).__name__}: {reason}\n"
    f"It needs up to {_gib(nbytes)}, {_gib(_free(workdir))} are free. Older"
    f" checkpoints are as they were ({older or 'there is none'}): {advice}, and"
    " the same command goes on from the latest of them."
  )


def remove_part(workdir: pathlib.Path, step: int) -> None:
  """Gives back the room that a failed save has taken."""
  part = folders.step_folder(workdir, step)
  part = part.with_name(part.name + folders.PARTIAL)
  for _ in range(_ATTEMPTS):
    shutil.rmtree(part, ignore_errors=True)
    # One array that fails ends a save; others may still be on their way.
    time.sleep(0.1)
    if not part.exists():
      return


def _is_full(error: BaseException | None) -> bool:
  while error is not None:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
      word in str(error) for word in _FULL
    ):
      return True
    error = error.__cause__ or error.__context__
  return False


def _free(folder: pathlib.Path) -> int:
  found = os.statvfs(folder)
  return found.f_bavail * found.f_frsize


def _gib(nbytes: int) -> str:
  return f"{nbytes / 2**30:.3g} GiB ({nbytes} bytes)"
