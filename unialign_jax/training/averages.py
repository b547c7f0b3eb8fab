"""Means of metrics, and the speed of steps, between two lines of a log."""

import collections
import math
import statistics
from collections.abc import Mapping


class Averages:
  """What has come since the last line.

  What is not finite is left out of the means: such steps have no update, are
  counted, and stand in incidents.jsonl. Nothing here is an array of JAX: on
  CPUs a sum of two of them would wait for the step under way.
  """

  def __init__(self) -> None:
    self.clear()

  def clear(self) -> None:
    """Begins a line."""
    self._values: dict[str, list[float]] = collections.defaultdict(list)
    self._seconds: list[float] = []
    self._flops: list[float] = []
    self._waits: list[float] = []

  def add(self, values: Mapping[str, float]) -> None:
    """Takes the metrics of a step."""
    for name, value in values.items():
      if math.isfinite(value):
        self._values[name].append(value)

  def add_time(self, *, seconds: float, flops: float, waited: float) -> None:
    """Takes the time of a step, the model's work in it, and the wait for it."""
    self._seconds.append(seconds)
    self._flops.append(flops)
    self._waits.append(waited)

  def means(self) -> dict[str, float]:
    """By name; without those that were never finite."""
    return {name: statistics.fmean(v) for name, v in self._values.items()}

  def speed(self, *, batch_size: int, peak: float | None) -> dict[str, float]:
    """Seconds a step, and what follows; nothing where no time is known.

    Args:
      batch_size: examples a step.
      peak: FLOP/s of all devices, where that is known.
    """
    total = sum(self._seconds)
    if not total:
      return {}
    seconds = statistics.median(self._seconds)
    found = {
      "seconds_per_step": seconds,
      "examples_per_second": batch_size / seconds,
      # At most this share of the time a device had nothing to do: it may
      # still have been busy with the step before.
      "data_wait": sum(self._waits) / total,
    }
    if peak:
      found["mfu"] = sum(self._flops) / total / peak
    return found
