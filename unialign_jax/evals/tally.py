"""Samples to numbers of a table: means, with what is in them and what is not.

A sample is a number, 0 where the picture is missing, or None where nothing
can be said of it: it is left out and counted.
"""

from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import intervals

Samples = Sequence[float | None]


def mean(group: str, metric: str, samples: Samples) -> benchmark.Score:
  """The mean over samples."""
  return mean_of_groups(group, metric, [samples])


def mean_of_groups(
  group: str, metric: str, groups: Sequence[Samples]
) -> benchmark.Score:
  """The unweighted mean of the groups' means; None where one has no sample."""
  known = [[v for v in samples if v is not None] for samples in groups]
  value, low, high = intervals.mean_of_groups(known)
  return benchmark.Score(
    group=group,
    metric=metric,
    value=value,
    low=low,
    high=high,
    scored=sum(map(len, known)),
    expected=sum(map(len, groups)),
  )
