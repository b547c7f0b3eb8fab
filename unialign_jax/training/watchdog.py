"""Ends a process in which nothing moves, so that a supervisor restarts it.

A lost device, a collective whose other end is gone or storage that does not
answer raise nothing: the process waits for ever. A thread looks whether steps
still end; when none has for too long, it writes the Python stacks of all
threads and ends the process. What may take far longer than a step (the start,
compilation, saving, samples) is a pause, with a longest time of its own.

Code that holds the interpreter's lock stops that thread too. faulthandler's
own timer needs no lock: the thread puts it off each time it looks.
"""

import contextlib
import faulthandler
import os
import pathlib
import statistics
import sys
import threading
import time
from collections.abc import Iterator

# EX_TEMPFAIL: not a mistake in flags or config, another start may cure it.
STATUS = 75
_LOOKS = 50  # in the shortest time after which it acts
_STEPS = 100  # latest ones, whose median counts
# Least time in which some Python has to run: copies and loads may hold on.
_LOCKED_SECONDS = 60.0
# A pause for so long is a hang, or for so many times the shortest limit.
_PAUSE_SECONDS, _PAUSE_FACTOR = 3600.0, 6.0
_TELL_SECONDS = 10.0  # to write the stacks


def file_name(process: int) -> str:
  """Of the stacks of one of several processes, in the workdir."""
  return f"stacks.{process}.txt" if process else "stacks.txt"


class Watchdog:
  """Watches the steps of one process while it is a context manager."""

  def __init__(
    self,
    *,
    factor: float,
    seconds: float,
    locked_seconds: float = _LOCKED_SECONDS,
  ):
    """Does not watch yet.

    Args:
      factor: of the median step time; no step for so long is a hang.
      seconds: what that time is at least; 0 turns the watchdog off.
      locked_seconds: time without any Python that is a hang, if `seconds` is
        not longer.
    """
    self._factor, self._least = factor, seconds
    self._locked = max(seconds, locked_seconds)
    self._longest_pause = max(_PAUSE_SECONDS, _PAUSE_FACTOR * seconds)
    self._path: pathlib.Path | None = None
    self._file = sys.__stderr__
    self._steps: list[float] = []
    self._pauses = 0  # one in another counts
    self._moved = time.monotonic()
    self._ended = threading.Event()
    self._thread: threading.Thread | None = None

  @property
  def limit(self) -> float:
    """Seconds without a step that are a hang, by the steps so far."""
    least = self._longest_pause if self._pauses else self._least
    if not self._steps:
      return least
    return max(least, self._factor * statistics.median(self._steps))

  def __enter__(self) -> "Watchdog":
    self._moved = time.monotonic()
    if self._least:
      self._put_off()
      self._thread = threading.Thread(
        target=self._watch, name="watchdog", daemon=True
      )
      self._thread.start()
    return self

  def __exit__(self, *unused: object) -> None:
    if self._thread:
      self._ended.set()
      self._thread.join()
    if self._path:
      self._file.close()
      if not self._path.stat().st_size:
        self._path.unlink()

  def write_to(self, path: str | os.PathLike) -> None:
    """Adds stacks to a file, too; before, they are written to stderr alone.

    Args:
      path: in a workdir that no other run has.
    """
    if self._least:
      self._path = pathlib.Path(path)
      self._file = self._path.open("a")
      self._put_off()

  def step_ended(self, seconds: float | None) -> None:
    """A step has ended.

    Args:
      seconds: what it took; None where that is not a usual step's time.
    """
    self._moved = time.monotonic()
    if seconds is not None:
      self._steps = [*self._steps[1 - _STEPS :], seconds]

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """What happens inside may take far longer than a step, but not for ever."""
    self._moved = time.monotonic()
    self._pauses += 1
    try:
      yield
    finally:
      self._moved = time.monotonic()
      self._pauses -= 1

  def _watch(self) -> None:
    while not self._ended.wait(self._least / _LOOKS):
      self._put_off()
      # The limit first: should a pause begin or end here, `_moved` is newer.
      limit = self.limit
      idle = time.monotonic() - self._moved
      if idle > limit:
        self._end(idle)
    faulthandler.cancel_dump_traceback_later()

  def _put_off(self) -> None:
    """Sets the timer that ends a process which runs no Python."""
    faulthandler.dump_traceback_later(self._locked, exit=True, file=self._file)

  def _end(self, idle: float) -> None:
    what = "step"
    if self._pauses:
      what = "start, compilation, checkpoint or sample"
    told = (
      f"watchdog, {time.strftime('%F %T')}: no {what} has ended for"
      f" {idle:.1f} s, expected one within {self.limit:.1f} s"
      " (config.train.watchdog_factor, watchdog_seconds); process"
      f" {os.getpid()} ends with status {STATUS}. Stacks:"
    )
    # What hangs may be the storage of the file.
    teller = threading.Thread(target=self._tell, args=(told,), daemon=True)
    teller.start()
    teller.join(_TELL_SECONDS)
    # Nothing is closed: what hangs would hang that too.
    os._exit(STATUS)

  def _tell(self, told: str) -> None:
    for file in dict.fromkeys((sys.__stderr__, self._file)):
      print(f"\n{told}", file=file, flush=True)
      faulthandler.dump_traceback(file, all_threads=True)
