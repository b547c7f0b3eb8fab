"""`results.json`: what was measured, and how; and all of it on a terminal."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from etils import epath

from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.features import files

NAME = "results.json"
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Time:
  """How long one picture (or text) of a group took.

  Attributes:
    group: of `Wanted` or `Asked`.
    seconds: wall time of one, in batches; None where each batch compiled.
    counted: pictures or texts in it.
  """

  group: str
  seconds: float | None
  counted: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """A result with all that made it.

  Attributes:
    result: of `Benchmark.score`.
    made, wanted: pictures and texts that are there, and that should be.
    times: by group.
    settings: of the generation (`settings.json`); {} for a folder that
      another program filled.
    scored_with: settings of the benchmark while scoring.
  """

  result: benchmark_lib.Result
  made: int
  wanted: int
  times: Sequence[Time] = ()
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  scored_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def name(protocol: str, default: str) -> str:
  """Of the file: each protocol but the benchmark's default has its own."""
  return NAME if protocol == default else f"results-{protocol}.json"


def write(path: pathlib.Path, report: Report) -> None:
  """Writes a report, whole or not at all."""
  fields = {"version": _VERSION, **dataclasses.asdict(report)}
  text = json.dumps(fields, indent=2, ensure_ascii=False, default=str)
  files.write(epath.Path(path), f"{text}\n".encode())


def read(path: pathlib.Path) -> Report:
  """Reads what `write` wrote.

  Raises:
    ValueError: another file.
  """
  try:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.pop("version") != _VERSION:
      raise ValueError("another version")
    result = fields.pop("result")
    scores = [benchmark_lib.Score(**score) for score in result.pop("scores")]
    times = [Time(**time) for time in fields.pop("times")]
    return Report(
      result=benchmark_lib.Result(**result, scores=scores),
      times=times,
      **fields,
    )
  except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path}: got no results of `python -m unialign_jax.evaluate` ({error});"
      " score the folder again, or take the file away."
    ) from error


def rows(
  scores: Sequence[benchmark_lib.Score],
) -> tuple[list[str], dict[str, dict[str, benchmark_lib.Score]]]:
  """Metrics in order, and the scores by group and metric."""
  metrics = list(dict.fromkeys(score.metric for score in scores))
  groups: dict[str, dict[str, benchmark_lib.Score]] = {}
  for score in scores:
    groups.setdefault(score.group, {})[score.metric] = score
  return metrics, groups


def number(score: benchmark_lib.Score | None) -> str:
  """E.g. "0.81 [0.79, 0.83]"; "" where there is no such score."""
  if score is None:
    return ""
  if score.value is None:
    return "not scored"
  form = digits(score.value)
  if score.low is None or score.high is None:
    return format(score.value, form)
  return f"{score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"


def digits(value: float) -> str:
  """Three figures of a share, fewer of what is larger."""
  return ".3f" if abs(value) <= 1 else ".2f" if abs(value) < 100 else ".1f"


def coverage(scores: Sequence[benchmark_lib.Score]) -> str:
  """E.g. "64", or "60 of 64" where samples are missing."""
  scored = min(score.scored for score in scores)
  expected = max(score.expected for score in scores)
  return f"{expected}" if scored == expected else f"{scored} of {expected}"


def is_empty(report: Report) -> bool:
  """Whether no number came of it."""
  return all(score.value is None for score in report.result.scores)


def cells(report: Report) -> tuple[list[str], list[list[str]]]:
  """Head and rows: a group each, with its metrics, samples and time."""
  metrics, groups = rows(report.result.scores)
  seconds = {time.group: time.seconds for time in report.times}
  found = []
  for group, scores in groups.items():
    time = seconds.get(group)
    found.append(
      [
        group,
        *(number(scores.get(metric)) for metric in metrics),
        coverage(list(scores.values())),
        "" if time is None else f"{time:.3g}",
      ]
    )
  return ["", *metrics, "samples", "s each"], found


def table(report: Report) -> str:
  """For a terminal: `cells`, and what to know of them."""
  result = report.result
  head, body = cells(report)
  widths = [max(map(len, column)) for column in zip(head, *body)]
  lines = [
    "  ".join(
      [line[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
    ).rstrip()
    for line in [head, *body]
  ]
  kind = "official" if result.official else "not the official scorer"
  title = f"{result.benchmark}, {result.protocol} ({kind}): {result.scorer}"
  said = f"{report.made} of {report.wanted} pictures and texts are there."
  return "\n".join([title, *lines, said, *result.notes])
