"""Measured stages as a table, and as JSON."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from unialign_jax.bench import fresh
from unialign_jax.bench import stages

_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """A stage at two sizes, each in a fresh process.

  Attributes:
    name: As the table has it.
    unit: What is counted first: "images" or "batches".
    sizes: Items or batches of the two runs: one window, and all windows.
    runs: The two; the values are `stages.Timing`s.
  """

  name: str
  unit: str
  sizes: tuple[int, int]
  runs: tuple[fresh.Outcome, fresh.Outcome]

  @property
  def timing(self) -> stages.Timing:
    return self.runs[1].value


def _rates(stage: Stage) -> dict[str, dict[str, float]]:
  rates = {}
  for unit in stage.timing.amounts:
    values = stage.timing.rates(unit)
    rates[f"{unit}_per_second"] = {
      "median": statistics.median(values),
      "least": min(values),
      "most": max(values),
    }
  return rates


def _memory(stage: Stage) -> dict[str, dict[str, Any]]:
  small, large = stage.runs
  return {
    "process": _growth(small.peak, large.peak),
    "largest_child": _growth(small.child_peak, large.child_peak),
  }


def _growth(small: int | None, large: int | None) -> dict[str, Any]:
  ratio = large / small if small and large else None
  return {"small_bytes": small, "large_bytes": large, "ratio": ratio}


def tree(measured: list[Stage]) -> dict[str, Any]:
  """What goes into JSON; bytes, seconds, and amounts a second."""
  return {
    stage.name: {
      "sizes": stage.sizes,
      "window_seconds": stage.timing.seconds,
      "rates": _rates(stage),
      "peak_memory": _memory(stage),
    }
    for stage in measured
  }


def table(measured: list[Stage]) -> str:
  """Rates (median, least and most of the windows), then peak memory."""
  lines = [f"{'':11}{'median':>9}{'least':>9}{'most':>9}"]
  for stage in measured:
    for unit, rate in _rates(stage).items():
      name = stage.name if unit.startswith(stage.unit) else ""
      unit = unit.replace("_per_second", "/s")
      if unit == "bytes/s":
        unit = "MB/s"
        rate = {key: value / 1e6 for key, value in rate.items()}
      numbers = "".join(f"{value:9.1f}" for value in rate.values())
      lines.append(f"{name:11}{numbers}  {unit}")
  lines += ["", "peak memory, MiB   (ratio of the second run to the first)"]
  for stage in measured:
    small, large = stage.sizes
    unit = "items" if stage.unit == "images" else stage.unit
    parts = [
      f"{what} {_megabytes(growth)}"
      for what, growth in _memory(stage).items()
      if growth["large_bytes"]
    ]
    counts = f"{small} and {large} {unit}"
    text = "; ".join(parts).replace("_", " ") or "not known on this system"
    lines.append(f"{stage.name:11}{counts:24} {text}")
  return "\n".join(lines)


def _megabytes(growth: Mapping[str, Any]) -> str:
  small, large = growth["small_bytes"], growth["large_bytes"]
  before = f"{small / _MIB:.0f}" if small else "?"
  ratio = f" (x {growth['ratio']:.2f})" if small else ""
  return f"{before}, {large / _MIB:.0f}{ratio}"
