"""Runs a function in a process of its own, and tells its peak memory.

Peaks of one process only grow, and what ran before stays in them: compiled
programs, arenas, imports. Two sizes compare in two fresh processes only.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from unialign_jax import interrupts
from unialign_jax.features import reading

_PROC = pathlib.Path("/proc")
_SECONDS = 0.1  # between two looks at the children
_PATIENCE = 30  # seconds in which an interrupted process is to end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """What a function gave.

  Attributes:
    value: Its result.
    peak: Most bytes of memory (resident set) its process had; None where the
      system does not tell (it does on Linux).
    child_peak: The same of the largest process that it started.
  """

  value: Any
  peak: int | None
  child_peak: int | None


def run(function: Callable[..., Any], *args: Any) -> Outcome:
  """Calls `function(*args)`, picklable, in a fresh process.

  Raises:
    ValueError: raised there, or an item that could not be read.
    RuntimeError: anything else, with the traceback; or the process died.
  """
  context = multiprocessing.get_context("spawn")
  receiver, sender = context.Pipe(duplex=False)
  process = context.Process(target=_work, args=(sender, function, args))
  process.start()
  sender.close()  # else the end of the other process goes unseen
  try:
    kind, content = receiver.recv()
    process.join()
  except EOFError:
    process.join()
    raise RuntimeError(
      f"{function.__name__}: got a process that died with exit code"
      f" {process.exitcode}, expected a result; -9 is often a machine out of"
      " memory: measure smaller windows"
    ) from None
  finally:
    _end(process)
  if kind is Outcome:
    return content
  raise kind(content)


def _end(process: multiprocessing.Process) -> None:
  """Lets it close what it opened, if there is time."""
  process.terminate()
  process.join(_PATIENCE)
  process.kill()
  process.join()


def _work(
  sender: connection.Connection,
  function: Callable[..., Any],
  args: tuple[Any, ...],
) -> None:
  """In the fresh process."""
  # Ctrl-C reaches every process of a terminal; the parent ends this one.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  interrupts.keep(signal.SIGTERM)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  children = _Children()
  try:
    value = function(*args)
    outcome = Outcome(
      value=value, peak=_peak(os.getpid()), child_peak=children.stop()
    )
    sender.send((Outcome, outcome))
  except KeyboardInterrupt:
    pass
  except (ValueError, reading.ReadError) as e:
    sender.send((ValueError, str(e)))
  except Exception:
    sender.send((RuntimeError, traceback.format_exc()))


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _peak(pid: int) -> int | None:
  """Peak resident bytes.

  Not getrusage: there a process begins with the peak of the one that started
  it.
  """
  try:
    status = (_PROC / str(pid) / "status").read_text()
  except OSError:  # it has ended
    return None
  for line in status.splitlines():
    if line.startswith("VmHWM:"):
      return int(line.split()[1]) * 1024
  return None


class _Children:
  """Looks at this process's children until `stop`."""

  def __init__(self):
    self._largest: int | None = None
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()

  def stop(self) -> int | None:
    self._stopped.set()
    self._thread.join()
    return self._largest

  def _watch(self) -> None:
    while not self._stopped.wait(_SECONDS):
      peaks = [peak for pid in _child_ids() if (peak := _peak(pid))]
      if peaks:
        self._largest = max(*peaks, self._largest or 0)


def _child_ids() -> list[int]:
  found = []
  for path in _PROC.glob("[0-9]*/stat"):
    try:
      # The name, in brackets, may hold anything; state and parent follow it.
      parent = path.read_text().rpartition(")")[2].split()[1]
    except OSError:  # it has ended
      continue
    if int(parent) == os.getpid():
      found.append(int(path.parent.name))
  return found
