"""The official scorer's answers, put in order by its own questions."""

import pathlib
from collections.abc import Iterable

from unialign_jax.evals import benchmark
from unialign_jax.evals.dpg import questions as questions_lib
from unialign_jax.evals.dpg import raw
from unialign_jax.evals.dpg import scores

_TOLERANCE = 1e-6


def answers(
  path: pathlib.Path,
  questions: questions_lib.Questions,
  items: Iterable[str],
  samples: int,
) -> dict[str, scores.Pictures]:
  """Yes or no of each picture of each item, from `{res}_detail.txt`.

  The script takes all pictures of an item from one file, so an item that the
  file has lacks no picture; what was not asked of one has no answer.

  Args:
    path: of the file.
    questions: all of them.
    items: that should be there.
    samples: of each.

  Raises:
    ValueError: no such file, or one of other questions, items or samples.
  """
  items = list(items)
  said = raw.read_detail(path)
  if unknown := sorted(set(said) - set(items)):
    raise ValueError(
      f"{path}: got pictures of {unknown[:20]}, which the prompts do not have;"
      " give the files that belong together"
    )
  found = {}
  for item in items:
    if item not in said:
      found[item] = [None] * samples
      continue
    if max(said[item]) >= samples:
      raise ValueError(
        f"{path}: {item}: got {max(said[item]) + 1} samples, expected"
        f" {samples}; give --set samples as the scorer had it (--pic-num)"
      )
    try:
      found[item] = [
        raw.answers(
          said[item].get(number, ()), questions.released.get(item, {})
        )
        for number in range(samples)
      ]
    except ValueError as error:
      raise ValueError(f"{path}: {item}: {error}") from error
  return found


def from_scores(
  read: raw.Scores, expected: int, metric: str, released: str
) -> list[benchmark.Score]:
  """The table of `{res}.txt` alone: no question is known.

  Args:
    read: the file.
    expected: prompts that should be in it.
    metric: the name of the column in which missing prompts count 0; "" for
      none.
    released: of the column without them.
  """
  total = sum(read.means.values()) * 100
  counts = {"scored": len(read.means), "expected": expected}
  table = []
  if metric:
    table.append(
      benchmark.Score(
        group=scores.OVERALL, metric=metric, value=total / expected, **counts
      )
    )
  mean = total / len(read.means) if read.means else None
  table.append(
    benchmark.Score(group=scores.OVERALL, metric=released, value=mean, **counts)
  )
  for name, value in read.printed.items():
    table.append(
      benchmark.Score(group=name, metric=released, value=value, **counts)
    )
  return table


def contradictions(
  read: raw.Scores,
  questions: questions_lib.Questions,
  found: dict[str, scores.Pictures],
) -> list[str]:
  """Items whose score is not what their answers come to."""
  return sorted(
    item
    for item, mean in read.means.items()
    if item not in found
    or (
      share := scores.released_share(
        questions.released.get(item, {}), found[item]
      )
    )
    is None
    or abs(share - mean) > _TOLERANCE
  )
