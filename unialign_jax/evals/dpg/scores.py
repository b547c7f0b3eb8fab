"""DPG-Bench's numbers, out of yes and no.

Of one picture:  a question counts 1 where its answer is yes and so are those
                 of all questions that it depends on, else 0; the picture has
                 the mean.
DPG score:       mean over prompts of the mean over their pictures, times 100.
Categories:      mean over questions, times 100.

`as_released` is what compute_dpg_bench.py makes of the same answers: it drops
prompts in which something fails, looks for parents in the order of the file
alone, and has the categories from the last picture of each prompt, before
dependent questions are zeroed.
"""

import collections
import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import tally
from unialign_jax.evals.dpg import questions

OVERALL = "Overall"
BROAD = ("global", "entity", "attribute", "relation", "other")
# Of one picture: yes or no by question; what has no answer is not in it. None
# for a picture that is not there.
Answers = Mapping[int, bool]
Pictures = Sequence[Answers | None]
_PERCENT = 100.0


def repaired(
  items: questions.Items, answers: Mapping[str, Pictures], metric: str
) -> list[benchmark.Score]:
  """The table over all pictures that should be there.

  Args:
    items: the questions of every prompt.
    answers: one entry a sample, for every item.
    metric: the name of the column.
  """
  per_item: list[float | None] = []
  pictures: list[float | None] = []
  by_category = collections.defaultdict(list)
  for item, of_item in items.items():
    counted = [settled(of_item, answered) for answered in answers[item]]
    shares = [_mean(list(points.values())) for points in counted]
    pictures += shares
    per_item.append(_mean(shares))
    for points in counted:
      for number, point in points.items():
        by_category[of_item[number].detailed].append(point)
  overall = tally.mean(OVERALL, metric, _percent(per_item))
  overall = dataclasses.replace(
    overall,
    scored=sum(share is not None for share in pictures),
    expected=len(pictures),
  )
  return [overall, *_categories(by_category, metric)]


def as_released(
  released: questions.Items, answers: Mapping[str, Pictures], metric: str
) -> list[benchmark.Score]:
  """The table of compute_dpg_bench.py.

  Args:
    released: the questions as it reads them.
    answers: one entry a sample. An item without a picture, or without an
      answer to one of its questions, is one in which something failed.
    metric: the name of the column.

  Returns:
    As `repaired`, and counted alike: all pictures of a prompt are in it, or
    none, though the categories are those of the last.
  """
  shares: list[float | None] = []
  by_category = collections.defaultdict(list)
  for item, pictures in answers.items():
    of_item = released.get(item, {})
    share = released_share(of_item, pictures)
    shares += [share] * len(pictures)
    for number, question in of_item.items():
      last = None if share is None else float(pictures[-1][number])
      by_category[question.detailed] += [last] * len(pictures)
  overall = _category(OVERALL, metric, shares)
  return [overall, *_categories(by_category, metric)]


def released_share(
  of_item: Mapping[int, questions.Question], pictures: Pictures
) -> float | None:
  """An item's score as released; None where the script drops it."""
  if not of_item:
    return None
  shares = []
  for answered in pictures:
    if answered is None or set(of_item) - set(answered):
      return None
    points = {number: float(answered[number]) for number in of_item}
    for number, question in of_item.items():
      for parent in question.parents:
        if parent not in points:
          return None
        if points[parent] == 0:
          points[number] = 0.0
          break
    shares.append(sum(points.values()) / len(points))
  return sum(shares) / len(shares)


def settled(
  of_item: Mapping[int, questions.Question], answered: Answers | None
) -> dict[int, float | None]:
  """What each question counts; None where that cannot be known."""
  if answered is None:
    return dict.fromkeys(of_item, 0.0)
  return {
    number: _point([answered.get(n) for n in _with_ancestors(of_item, number)])
    for number in of_item
  }


def _point(verdicts: Sequence[bool | None]) -> float | None:
  """Of a question and all that it depends on."""
  if False in verdicts:
    return 0.0
  return None if None in verdicts else 1.0


def _with_ancestors(
  of_item: Mapping[int, questions.Question], number: int
) -> list[int]:
  """A question and all that it depends on, each once."""
  found = [number]
  for one in found:  # grows while it is walked
    for parent in of_item[one].parents:
      if parent in of_item and parent not in found:
        found.append(parent)
  return found


def _categories(
  by_category: Mapping[str, Sequence[float | None]], metric: str
) -> Iterator[benchmark.Score]:
  """Broad categories, then detailed ones that are not broad ones."""
  broad: dict[str, list[float | None]] = collections.defaultdict(list)
  for name, points in by_category.items():
    broad[name.split("-")[0].strip()] += points
  for name in sorted(broad, key=_place):
    yield _category(name, metric, broad[name])
  for name in sorted(by_category):
    if name not in broad:
      yield _category(name, metric, by_category[name])


def _category(
  name: str, metric: str, points: Sequence[float | None]
) -> benchmark.Score:
  """Without an interval: questions about one picture are not independent."""
  value = _mean(points)
  return benchmark.Score(
    group=name,
    metric=metric,
    value=None if value is None else value * _PERCENT,
    scored=sum(point is not None for point in points),
    expected=len(points),
  )


def _place(name: str) -> tuple[int, str]:
  return (BROAD.index(name) if name in BROAD else len(BROAD), name)


def _mean(values: Sequence[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return sum(known) / len(known) if known else None


def _percent(values: Sequence[float | None]) -> list[float | None]:
  return [None if value is None else value * _PERCENT for value in values]
