"""Where the time of a run went, start by start.

  python -m unialign_jax.bench goodput WORKDIR [--json=FILE] [--plot=FILE]

From metrics.jsonl and goodput.jsonl of the workdir; the run may be under way.
Categories are those of training/goodput.py. `step` is the time of steps that
were new, and its share of the whole is the goodput. `down` is the time before
a start in which there was no process, or one that has left no record.
"""

import datetime
import pathlib
from typing import Any

from unialign_jax.bench import goodput_report
from unialign_jax.bench import outputs
from unialign_jax.training import lines
from unialign_jax.training import logger
from unialign_jax.training import starts

ARGUMENTS = ("WORKDIR",)


def define_flags() -> None:
  outputs.define_flags()


def main(argv: list[str]) -> None:
  outputs.check()
  run = read(pathlib.Path(argv[1]))
  print(goodput_report.table(run))
  outputs.write(goodput_report.tree(run), goodput_report.draw(run))


def read(workdir: pathlib.Path) -> list[goodput_report.Start]:
  """The starts of a run.

  Raises:
    ValueError: no run there, or one without such records.
  """
  own = lines.read(workdir / starts.FILE)
  if not own:
    raise ValueError(
      f"WORKDIR {workdir}: got no {starts.FILE}, expected the workdir of a run"
      " of unialign_jax.train"
    )
  metrics = [
    line
    for line in lines.read(workdir / logger.METRICS_FILE)
    if "start_number" in line
  ]
  found, before = [], None
  for begin in (r for r in own if r["event"] == "begin"):
    mine = [m for m in metrics if m["start_number"] == begin["start"]]
    ends = [
      r for r in own if r["event"] == "end" and r["start"] == begin["start"]
    ]
    last = max([begin, *mine, *ends], key=lambda record: record["time"])
    found.append(_start(before, begin, mine, ends, last))
    before = last
  return found


def _start(
  before: dict[str, Any] | None,
  begin: dict[str, Any],
  metrics: list[dict[str, Any]],
  ends: list[dict[str, Any]],
  last: dict[str, Any],
) -> goodput_report.Start:
  """One start, from its records and the last one of the start before."""
  base, now = starts.seconds_of(begin), starts.seconds_of(last)
  seconds = {name: now[name] - base[name] for name in now}
  if before:
    seconds["down"] += base["down"] - starts.seconds_of(before)["down"]
  steps = [m["step"] for m in metrics] + [
    r["step"] for r in ends if "step" in r
  ]
  programs = [m["compiled_programs"] for m in metrics]
  return goodput_report.Start(
    number=begin["start"],
    began=datetime.datetime.fromtimestamp(begin["time"], datetime.UTC),
    wall=last["time"] - (before or begin)["time"],
    first_step=metrics[0]["step"] if metrics else None,
    last_step=max(steps, default=None),
    end=ends[-1]["reason"] if ends else "",
    compiled=programs[-1] if programs else None,
    seconds=seconds,
  )
