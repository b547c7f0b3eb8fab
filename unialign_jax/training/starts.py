"""goodput.jsonl: one line when a process begins, one when it ends in order.

Between the two lie its lines of metrics.jsonl, which carry the seconds of the
whole run so far. A process that was killed has no last line: what it did after
its last record is not known, and counts as `down`.
"""

import dataclasses
import pathlib
import time
from typing import Any

from unialign_jax.checkpoint import agreement
from unialign_jax.training import goodput
from unialign_jax.training import lines
from unialign_jax.training import logger

FILE = "goodput.jsonl"
PREFIX = "seconds/"
_NUMBER = int | float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Earlier:
  """What the records of a workdir tell of its earlier starts.

  Attributes:
    starts: how many there were.
    seconds: of the run, by category, at the last record.
    time: of the last record, Unix seconds; None without one.
    last_step: highest step in metrics.jsonl.
  """

  starts: int
  seconds: dict[str, float]
  time: float | None
  last_step: int


def read(workdir: pathlib.Path) -> Earlier:
  """Reads the records of a workdir; none is no earlier start.

  They are for accounting: a damaged line is left out, and logged.
  """
  own = lines.read_sound(workdir / FILE, start=int, time=_NUMBER)
  metrics = lines.read_sound(
    workdir / logger.METRICS_FILE, step=int, time=_NUMBER
  )
  # A run that was begun without such records has been down until now.
  known = [r for r in (*own, *metrics) if seconds_of(r)]
  last = max(known, key=lambda r: r["time"], default=None)
  numbers = [r["start"] for r in own]
  counted = [r.get("start_number") for r in metrics]
  numbers += [number for number in counted if isinstance(number, int)]
  return Earlier(
    starts=max(numbers, default=0),
    seconds=seconds_of(last) if last else {},
    time=last["time"] if last else None,
    last_step=max((r["step"] for r in metrics), default=0),
  )


def seconds_of(record: dict[str, Any]) -> dict[str, float]:
  """Seconds by category in a line of either file."""
  names = {f"{PREFIX}{name}": name for name in goodput.CATEGORIES}
  return {
    names[key]: value
    for key, value in record.items()
    if key in names and isinstance(value, _NUMBER)
  }


class Start:
  """The records of one process, which carry on those of earlier ones.

  As a context manager it writes the first and the last of them.

  Attributes:
    earlier: what was there before.
    number: of this start, from 1; the same on every process.
    clock: of this process and, before it, the run.
    step: steps taken; to be set, and None where it came to none.
    reason: why it ends, "finished" or the name of a signal; to be set.
  """

  def __init__(self, workdir: pathlib.Path, *, age: float, active: bool):
    """Reads what there is and begins the clock. Every process has to.

    Args:
      workdir: of the run.
      age: seconds since this process was started.
      active: whether this process writes.
    """
    self._path = workdir / FILE
    self._active = active
    self.earlier = read(workdir)
    # Another host may see the files as they were a moment ago.
    self.number = int(agreement.gather(str(self.earlier.starts + 1))[0])
    self.step: int | None = None
    self.reason = ""
    self._began = time.time() - age
    before = dict.fromkeys(goodput.CATEGORIES, 0.0) | self.earlier.seconds
    if self.earlier.time is not None:
      before["down"] += max(self._began - self.earlier.time, 0.0)
    self._before = before
    self.clock = goodput.Clock(age=age, earlier=before)

  def __enter__(self) -> "Start":
    self._write("begin", self._began, self._before)
    return self

  def __exit__(self, kind: type | None, *unused: object) -> None:
    more = {"reason": kind.__name__ if kind else self.reason}
    more["compiled"] = dict(self.clock.compiled)
    if self.step is not None:
      more["step"] = self.step
    self._write("end", time.time(), self.clock.seconds(), **more)

  def values(self) -> dict[str, float]:
    """For a line of metrics.jsonl."""
    return _named(self.clock.seconds()) | {
      "start_number": self.number,
      "compiled_programs": self.clock.compiled.total(),
    }

  def _write(
    self, event: str, when: float, seconds: dict[str, float], **more: Any
  ) -> None:
    if self._active:
      record = {"event": event, "start": self.number, "time": round(when, 3)}
      lines.append(self._path, record | more | _named(seconds))


def _named(seconds: dict[str, float]) -> dict[str, float]:
  return {f"{PREFIX}{name}": round(s, 3) for name, s in seconds.items()}
