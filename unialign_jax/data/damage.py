"""Counts damaged records, and stops the run when there are too many.

damaged.jsonl of process 0, damaged.N.jsonl of process N: a line a record. The
next start of the run counts on from there, or a run that is started again and
again would have the cap anew each time.
"""

import pathlib
import threading
import time

from absl import logging

from unialign_jax.training import lines


class DamagedRecordsError(RuntimeError):
  """More damaged records than the config allows."""


def file_name(process: int) -> str:
  """Of a process, in the workdir."""
  return f"damaged.{process}.jsonl" if process else "damaged.jsonl"


class DamageCounter:
  """Counts each damaged record once; reader threads share one counter.

  Args:
    cap: Damaged records that a run may meet.
  """

  def __init__(self, cap: int):
    self._cap = cap
    self._lock = threading.Lock()
    self._seen: set[tuple[str, int]] = set()
    self._path: pathlib.Path | None = None

  @property
  def count(self) -> int:
    """Damaged records met so far."""
    return len(self._seen)

  def keep(self, path: pathlib.Path) -> None:
    """Counts on from a file, and adds to it; before any record is read.

    A line that is damaged itself is left out: its record counts when it is
    met again.

    Raises:
      DamagedRecordsError: there are too many in it.
    """
    self._path = path
    known = lines.read_sound(path, folder=str, index=int)
    self._seen |= {(line["folder"], line["index"]) for line in known}
    if self.count > self._cap:
      raise DamagedRecordsError(
        f"got {self.count} damaged records that earlier starts have met, in"
        f" {path}, expected at most {self._cap}. {self._remedy()}"
      )

  def add(self, folder: str, index: int, reason: Exception) -> None:
    """Notes that record `index` of a feature set is damaged.

    Raises:
      DamagedRecordsError: the cap is passed.
    """
    with self._lock:
      is_new = (folder, index) not in self._seen
      self._seen.add((folder, index))
      count = self.count
      if is_new and self._path is not None:
        line = {"time": round(time.time(), 3), "folder": folder}
        lines.append(self._path, line | {"index": index, "reason": str(reason)})
    if is_new:
      logging.error(
        "damaged record %d of feature set %s, replaced by the next good one"
        " (%d damaged so far, %d allowed): %s",
        index,
        folder,
        count,
        self._cap,
        reason,
      )
    if count > self._cap:
      raise DamagedRecordsError(
        f"got {count} damaged records, expected at most {self._cap}; the last"
        f" is record {index} of feature set {folder} ({reason})."
        f" {self._remedy()}"
      )

  def _remedy(self) -> str:
    forget = f" and delete {self._path}" if self._path else ""
    return (
      f"Copy or write the set again{forget}, or raise"
      " config.data.max_damaged_records"
    )
