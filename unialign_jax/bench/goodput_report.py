"""The time of a run as a table, as JSON and as a picture."""

import dataclasses
import datetime
from typing import Any

from matplotlib import figure as figure_lib

from unialign_jax.training import goodput

_NOTHING = "-"
_NO_END = "no record"  # killed, or under way


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
  """One process of a run.

  Attributes:
    number: from 1.
    began: when the process was started.
    wall: seconds from the last record of the start before (of the first: from
      its begin) to its own last record.
    first_step: of its first line in metrics.jsonl; None without one.
    last_step: the highest that it has told of.
    end: "finished", the name of a signal or of an error's type, or "".
    compiled: programs that XLA had to compile.
    seconds: by category; they add up to `wall`.
  """

  number: int
  began: datetime.datetime
  wall: float
  first_step: int | None
  last_step: int | None
  end: str
  compiled: int | None
  seconds: dict[str, float]


def total(run: list[Start]) -> dict[str, float]:
  """Seconds of all starts, by category."""
  return {
    name: sum(start.seconds[name] for start in run)
    for name in goodput.CATEGORIES
  }


def table(run: list[Start]) -> str:
  """Markdown: a row a start, their sum, and its shares."""
  head = ["start", "began, UTC", "steps", "ended", "programs", "wall s"]
  rows = [head + list(goodput.CATEGORIES), ["---"] * (6 + len(run[0].seconds))]
  for start in run:
    programs = _NOTHING if start.compiled is None else str(start.compiled)
    rows.append(
      [
        str(start.number),
        f"{start.began:%F %T}",
        _steps(start),
        start.end or _NO_END,
        programs,
        *_numbers(start.wall, start.seconds, "{:.1f}"),
      ]
    )
  wall, seconds = sum(start.wall for start in run), total(run)
  none = [""] * 4
  rows.append(["all", *none, *_numbers(wall, seconds, "{:.1f}")])
  shares = {n: 100 * s / max(wall, 1e-9) for n, s in seconds.items()}
  rows.append(["%", *none, *_numbers(sum(shares.values()), shares, "{:.2f}")])
  lines = [f"| {' | '.join(row)} |" for row in rows]
  return "\n".join(
    [
      *lines,
      "",
      f"goodput {shares['step']:.2f} % of {wall:.1f} s; the categories add up"
      f" to {sum(seconds.values()):.1f} s",
    ]
  )


def _steps(start: Start) -> str:
  if start.first_step is None:
    return _NOTHING
  return f"{start.first_step} to {start.last_step}"


def _numbers(wall: float, seconds: dict[str, float], form: str) -> list[str]:
  values = [wall, *(seconds[name] for name in goodput.CATEGORIES)]
  return [form.format(value) for value in values]


def tree(run: list[Start]) -> dict[str, Any]:
  """What goes into JSON."""
  wall, seconds = sum(start.wall for start in run), total(run)
  starts = [
    dataclasses.asdict(start) | {"began": start.began.isoformat()}
    for start in run
  ]
  return {
    "wall_seconds": wall,
    "seconds": seconds,
    "goodput": seconds["step"] / wall if wall else None,
    "starts": starts,
  }


def draw(run: list[Start]) -> figure_lib.Figure:
  """A bar a start, one after the other, in the order of the categories."""
  figure = figure_lib.Figure(
    figsize=(9, 1.8 + 0.35 * len(run)), layout="constrained"
  )
  axes = figure.subplots()
  names = [str(start.number) for start in run]
  left = [0.0] * len(run)
  # What lies before a start is drawn before it.
  order = ("down", *(n for n in goodput.CATEGORIES if n != "down"))
  for name in order:
    widths = [start.seconds[name] for start in run]
    is_down = name == "down"
    axes.barh(
      names,
      widths,
      left=left,
      label=name,
      color="white" if is_down else None,
      edgecolor="gray" if is_down else None,
      hatch="//" if is_down else None,
    )
    left = [a + b for a, b in zip(left, widths)]
  axes.invert_yaxis()
  axes.set_ylabel("start")
  axes.set_xlabel("seconds")
  share = 100 * total(run)["step"] / max(sum(s.wall for s in run), 1e-9)
  axes.set_title(f"goodput {share:.1f} %")
  axes.legend(
    ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.3)
  )
  return figure
