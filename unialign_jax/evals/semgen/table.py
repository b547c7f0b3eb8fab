"""The results as files: a line a picture, and a table like the paper's."""

import json
import pathlib
from collections.abc import Sequence

from etils import epath

from unialign_jax.evals import benchmark
from unialign_jax.evals import results
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import samples as samples_lib
from unialign_jax.features import files


def write_samples(
  path: pathlib.Path,
  items: Sequence[dataset.Item],
  samples: Sequence[samples_lib.Sample],
) -> None:
  """JSON lines with group, key, image_id, text, status, IC, PQ and O."""
  by_key = {item.key: item for item in items}
  fields = {group.name: group.field for group in dataset.GROUPS}
  lines = [
    json.dumps(
      {
        "group": one.group,
        "key": one.key,
        "image_id": by_key[one.key].image_id,
        "text": by_key[one.key].prompts[fields[one.group]],
        "status": one.status,
        **{metric: one.metric(metric) for metric in samples_lib.METRICS},
      },
      ensure_ascii=False,
    )
    for one in samples
  ]
  files.write(epath.Path(path), "".join(f"{line}\n" for line in lines).encode())


def write(
  path: pathlib.Path,
  result: benchmark.Result,
  times: Sequence[results.Time],
) -> None:
  """The table as a file."""
  files.write(epath.Path(path), f"{markdown(result, times)}\n".encode())


def markdown(result: benchmark.Result, times: Sequence[results.Time]) -> str:
  """Groups across, as Table 4 has them, then what to know.

  Args:
    result: of `score`.
    times: of making the pictures, by group.
  """
  _, rows = results.rows(result.scores)
  seconds = {time.group: time.seconds for time in times}
  lines = [
    f"SemGen-Bench, protocol {result.protocol}",
    "",
    f"Judge: {result.scorer}",
    "",
    "| | " + " | ".join(rows) + " |",
    "|---" * (len(rows) + 1) + "|",
  ]
  for metric in samples_lib.METRICS:
    cells = [_cell(scores[metric]) for scores in rows.values()]
    lines.append(f"| {metric} | " + " | ".join(cells) + " |")
  counts = [results.coverage(list(scores.values())) for scores in rows.values()]
  lines.append("| scored | " + " | ".join(counts) + " |")
  each = [_seconds(seconds.get(row)) for row in rows]
  lines.append("| seconds a picture | " + " | ".join(each) + " |")
  return "\n".join([*lines, "", *(f"- {note}" for note in result.notes)])


def _cell(score: benchmark.Score) -> str:
  """Two decimals as in the paper, with the interval."""
  if score.value is None:
    return "not scored"
  if score.low is None or score.high is None:
    return f"{score.value:.2f}"
  return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def _seconds(value: float | None) -> str:
  return "" if value is None else f"{value:.3g}"
