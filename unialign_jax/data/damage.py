"""Counts damaged records, and stops the run when there are too many."""

import threading

from absl import logging


class DamagedRecordsError(RuntimeError):
  """More damaged records than the config allows."""


class DamageCounter:
  """Counts each damaged record once; reader threads share one counter.

  Args:
    cap: Damaged records that a run may meet.
  """

  def __init__(self, cap: int):
    self._cap = cap
    self._lock = threading.Lock()
    self._seen: set[tuple[str, int]] = set()

  @property
  def count(self) -> int:
    """Damaged records met by this process so far."""
    return len(self._seen)

  def add(self, folder: str, index: int, reason: Exception) -> None:
    """Notes that record `index` of a feature set is damaged.

    Raises:
      DamagedRecordsError: the cap is passed.
    """
    with self._lock:
      is_new = (folder, index) not in self._seen
      self._seen.add((folder, index))
      count = self.count
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
        f" is record {index} of feature set {folder} ({reason}). Copy or write"
        " the set again, or raise data.max_damaged_records"
      )
