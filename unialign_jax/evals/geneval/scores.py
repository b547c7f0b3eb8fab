"""GenEval's numbers: six tasks, and their unweighted mean.

Task: share of its pictures that are correct. The official summary_scores.py
divides by the pictures that it was shown, so that samples that were never
made raise a score rather than lower it; `repaired` divides by those that
should be there.
"""

import collections
import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import tally
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import results

OVERALL = "Overall"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
  """What should be there.

  Attributes:
    per_tag: prompts of each task, in the order of the table.
    samples: of each prompt.
    partial: whether a part of it has an Overall too.
  """

  per_tag: Mapping[str, int]
  samples: int
  partial: bool


def repaired(
  rows: Sequence[results.Row], expected: Expected, metric: str
) -> list[benchmark.Score]:
  """The table; a sample that is not there is a wrong one.

  Args:
    rows: at most one a picture.
    expected: what should be there.
    metric: the name of the column.

  Returns:
    A number a task and Overall, which is None where a task is short of
    samples, unless `expected.partial`; then the mean over all pictures, and
    the share of prompts with one that is correct.
  """
  correct = _by_prompt(rows)
  scores, groups = [], []
  for tag, count in expected.per_tag.items():
    shares = [
      sum(verdicts) / expected.samples for verdicts in correct[tag].values()
    ]
    shares += [0.0] * (count - len(shares))
    scored = sum(map(len, correct[tag].values()))
    full = count * expected.samples
    counts = {"scored": scored, "expected": full}
    scores.append(_counted(tally.mean(tag, metric, shares), **counts))
    groups.append(shares)
  full_counts = {
    "scored": sum(score.scored for score in scores),
    "expected": sum(score.expected for score in scores),
  }
  overall = tally.mean_of_groups(OVERALL, metric, groups)
  if short(scores) and not expected.partial:
    overall = dataclasses.replace(overall, value=None, low=None, high=None)
  everything = [share for shares in groups for share in shares]
  return [
    *scores,
    _counted(overall, **full_counts),
    _counted(tally.mean("Images", metric, everything), **full_counts),
    tally.mean("Prompts, any", metric, [float(s > 0) for s in everything]),
  ]


def as_released(
  rows: Sequence[results.Row], expected: Expected, metric: str
) -> list[benchmark.Score]:
  """The table as summary_scores.py makes it, of the rows that there are.

  Args:
    rows: of the file, as many as it has of a picture.
    expected: for counts, and for the order of tasks.
    metric: the name of the column.
  """
  by_tag = {tag: [r for r in rows if r.tag == tag] for tag in expected.per_tag}
  shown = {tag: found for tag, found in by_tag.items() if found}
  scores = []
  for tag, count in expected.per_tag.items():
    value = _share(by_tag[tag]) if by_tag[tag] else None
    full = count * expected.samples
    scores.append(_score(tag, metric, value, len(by_tag[tag]), full))
  full = sum(score.expected for score in scores)
  means = [_share(found) for found in shown.values()]
  overall = sum(means) / len(means) if means else None
  if short(scores) and not expected.partial:
    overall = None
  # summary_scores.py tells prompts apart by their text of metadata.
  prompts_of = collections.defaultdict(list)
  for row in rows:
    prompts_of[row.fields["metadata"]].append(row.correct)
  right = [float(any(verdicts)) for verdicts in prompts_of.values()]
  count = sum(expected.per_tag.values())
  return [
    *scores,
    _score(OVERALL, metric, overall, len(rows), full),
    _score("Images", metric, _share(rows) if rows else None, len(rows), full),
    _score(
      "Prompts, any",
      metric,
      sum(right) / len(right) if right else None,
      len(right),
      count,
    ),
  ]


def short(scores: Sequence[benchmark.Score]) -> list[str]:
  """The tasks that lack samples, with their numbers."""
  return [
    f"{score.group} {score.scored} of {score.expected}"
    for score in scores
    if score.group in prompts.COUNTS and score.scored < score.expected
  ]


def once(rows: Sequence[results.Row]) -> list[results.Row]:
  """The last row of each picture."""
  return list({row.picture: row for row in rows}.values())


def _by_prompt(
  rows: Sequence[results.Row],
) -> dict[str, dict[int, list[bool]]]:
  """Verdicts by task and prompt."""
  found: dict[str, dict[int, list[bool]]] = collections.defaultdict(dict)
  for row in rows:
    found[row.tag].setdefault(row.index, []).append(row.correct)
  return found


def _share(rows: Sequence[results.Row]) -> float:
  return sum(row.correct for row in rows) / len(rows)


def _score(
  group: str, metric: str, value: float | None, scored: int, expected: int
) -> benchmark.Score:
  return benchmark.Score(
    group=group, metric=metric, value=value, scored=scored, expected=expected
  )


def _counted(
  score: benchmark.Score, scored: int, expected: int
) -> benchmark.Score:
  """With pictures counted, where its samples were prompts."""
  return dataclasses.replace(score, scored=scored, expected=expected)
