"""One run at a time in a workdir, as far as one host can tell.

The kernel holds the lock for the open file of a process, so it ends with the
process, however that ends, and what starts a run again finds it free. Network
file systems hold it for one host at least; those that know no locks are used
without, which is said.
"""

import errno
import fcntl
import json
import os
import pathlib
import socket
import time

from absl import logging

FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class InUseError(RuntimeError):
  """Another process trains in the workdir.

  No ValueError: it ends by itself, and a later start finds the place free.
  """


class Lock:
  """Holds `WORKDIR/.lock` until `release`, or the end of the process."""

  def __init__(self, workdir: pathlib.Path):
    """Takes it.

    Raises:
      InUseError: another one has it.
    """
    path = workdir / FILE
    self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = _describe(os.pread(self._file, 1000, 0))
      os.close(self._file)
      raise InUseError(
        f"--workdir {workdir}: got a folder in which another process trains"
        f" ({holder}), expected one that is free; wait for its end, end it, or"
        " use another --workdir."
      ) from None
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        os.close(self._file)
        raise
      logging.warning(
        "--workdir %s: the file system has no locks (%s); nothing keeps a"
        " second run out of it.",
        workdir,
        error.strerror,
      )
      return
    note = {"pid": os.getpid(), "host": socket.gethostname()}
    note["since"] = time.strftime("%F %T")
    os.ftruncate(self._file, 0)
    os.pwrite(self._file, json.dumps(note).encode(), 0)

  def release(self) -> None:
    """Gives it back; once is enough."""
    if self._file >= 0:
      os.close(self._file)
      self._file = -1


def _describe(note: bytes) -> str:
  try:
    fields = json.loads(note)
    return f"pid {fields['pid']} on {fields['host']} since {fields['since']}"
  except (ValueError, KeyError, TypeError):
    return "it has left no name"  # between taking the lock and the note
