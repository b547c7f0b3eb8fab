"""GEdit-Bench's numbers: SC, PQ and O of eleven groups, and their means.

Of a sample:  O = sqrt(SC * PQ), both from 0 to 10
Of a group:   the mean over its samples
Average:      the unweighted mean of the groups, which is what papers report;
              once over all samples, once over the intersection: those that
              every model of the paper gave an answer to
"""

import dataclasses
import math
from collections.abc import Iterator
from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import tally
from unialign_jax.evals.gedit import dataset

METRICS = ("G_SC", "G_PQ", "G_O")
AVERAGE = "Average"
_SAMPLES = "Samples"
_INTERSECTION = " (intersection)"
SCORED = "scored"
MISSING = "missing picture"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """What became of one picture.

  Attributes:
    task: its group.
    status: `SCORED`, `MISSING`, or why there is no score.
    sc: semantic consistency, 0 to 10; None where there is none.
    pq: perceptual quality, likewise.
    intersection: of `dataset.Item`.
  """

  task: str
  status: str
  sc: float | None
  pq: float | None
  intersection: bool | None

  def values(self) -> tuple[float | None, float | None, float | None]:
    """SC, PQ and O: all of them, or none."""
    if self.sc is None or self.pq is None:
      return None, None, None
    return self.sc, self.pq, math.sqrt(self.sc * self.pq)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What became of all pictures.

  Attributes:
    samples: one an item.
    rows: what the official script counts: one a row of its files, which may
      have several of an item, and one an item without any.
    notes: what a reader must know.
  """

  samples: Sequence[Sample]
  rows: Sequence[Sample]
  notes: Sequence[str]


def missing(task: str, intersection: bool | None) -> Sample:
  """A picture that is not there: the model gets nothing for it."""
  return Sample(
    task=task, status=MISSING, sc=0.0, pq=0.0, intersection=intersection
  )


def repaired(
  samples: Sequence[Sample], suffix: str = ""
) -> list[benchmark.Score]:
  """The table over all samples; one without a score is in no mean.

  Args:
    samples: one an item.
    suffix: of the names of the columns.
  """
  return [
    *_table(samples, "", suffix),
    *_table([s for s in samples if s.intersection], _INTERSECTION, suffix),
  ]


def as_released(
  samples: Sequence[Sample], suffix: str = ""
) -> list[benchmark.Score]:
  """The table of calculate_statistics.py: without what is missing.

  Args:
    samples: one a row of its files, and one a missing item.
    suffix: of the names of the columns.
  """
  shown = [
    sample
    if sample.status == SCORED
    else dataclasses.replace(sample, sc=None, pq=None)
    for sample in samples
  ]
  # The script gives no intervals.
  return [
    dataclasses.replace(score, low=None, high=None)
    for score in repaired(shown, suffix)
  ]


def _table(
  samples: Sequence[Sample], where: str, suffix: str
) -> Iterator[benchmark.Score]:
  """Rows of the groups that have items; an Average needs a score in each."""
  by_group = {
    task: [s.values() for s in samples if s.task == task]
    for task in dataset.GROUPS
  }
  by_group = {task: found for task, found in by_group.items() if found}
  for place, metric in enumerate(METRICS):
    name = metric + suffix
    columns = [[v[place] for v in found] for found in by_group.values()]
    for task, column in zip(by_group, columns):
      yield tally.mean(task + where, name, column)
    if columns:
      yield tally.mean_of_groups(AVERAGE + where, name, columns)
      everything = [value for column in columns for value in column]
      yield tally.mean(_SAMPLES + where, name, everything)
