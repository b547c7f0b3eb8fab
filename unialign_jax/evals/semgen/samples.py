"""Scores of samples, and the means of them: pure arithmetic."""

import collections
import dataclasses
import math
from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import tally
from unialign_jax.evals.semgen import dataset

METRICS = ("IC", "PQ", "O")
AVERAGE = "Average"
SCORED = "scored"
MISSING = "missing picture"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """What became of one picture.

  Attributes:
    group: of `dataset.GROUPS`, by name.
    key: of the item.
    status: "scored"; "missing picture", which counts 0; or why the judge gave
      no score, in which case it counts in nothing.
    ic: instruction consistency, 0 to 10; None where there is none.
    pq: perceptual quality, likewise.
  """

  group: str
  key: int
  status: str
  ic: float | None
  pq: float | None

  def __post_init__(self):
    if (self.ic is None) != (self.pq is None):
      raise ValueError(
        f"{self.group} {self.key}: got IC {self.ic} and PQ {self.pq}, expected"
        " both or neither."
      )

  @property
  def o(self) -> float | None:
    """Overall: the geometric mean of both."""
    if self.ic is None or self.pq is None:
      return None
    return math.sqrt(self.ic * self.pq)

  def metric(self, name: str) -> float | None:
    """One of `METRICS`."""
    return {"IC": self.ic, "PQ": self.pq, "O": self.o}[name]


def missing(group: str, key: int, status: str = MISSING) -> Sample:
  """A picture that is not there, for which the model gets nothing."""
  return Sample(group=group, key=key, status=status, ic=0.0, pq=0.0)


def scores(samples: Sequence[Sample]) -> list[benchmark.Score]:
  """The table: IC, PQ and O of each group, and their unweighted means.

  Args:
    samples: of all groups.
  """
  groups = {group.name: [] for group in dataset.GROUPS}
  for sample in samples:
    groups[sample.group].append(sample)
  rows = {
    **{name: [found] for name, found in groups.items()},
    AVERAGE: list(groups.values()),
  }
  return [
    tally.mean_of_groups(
      row, metric, [[one.metric(metric) for one in found] for found in parts]
    )
    for row, parts in rows.items()
    for metric in METRICS
  ]


def unjudged(samples: Sequence[Sample]) -> dict[str, int]:
  """How many samples have no score, by reason."""
  reasons = (one.status for one in samples if one.ic is None)
  return dict(collections.Counter(reasons))
