"""Bootstrap intervals: how far a mean would move with other samples.

Percentile intervals of 95 %. Samples are drawn anew with replacement; where a
number is the unweighted mean of groups, within each group. They hold what
comes from the choice of samples, not what a judge or a seed adds, and samples
that depend on each other (pictures of one prompt) have to be averaged first.
Where all values are equal the interval is that one value: of n samples that
are all right, a share of up to 3/n may still be wrong.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
_RESAMPLES = 2000
# Of resamples that are held at once, which bounds the memory.
_BATCH = 200


class Interval(NamedTuple):
  """A mean and its interval; None where nothing can be said."""

  value: float | None
  low: float | None
  high: float | None


def mean(values: Sequence[float], *, seed: int = 0) -> Interval:
  """The mean of values, one a sample.

  Args:
    values: of any number of samples; one of them has a mean and no interval.
    seed: of the resampling.
  """
  return mean_of_groups([values], seed=seed)


def mean_of_groups(
  groups: Sequence[Sequence[float]], *, seed: int = 0
) -> Interval:
  """The unweighted mean of the means of groups.

  Args:
    groups: the values of each, one a sample. A group of one sample stands
      still in the resampling.
    seed: of the resampling.

  Returns:
    Without a value where there is no group, or one without samples; without
    an interval where no group has two samples.
  """
  arrays = [np.asarray(group, np.float64) for group in groups]
  if not arrays or not all(array.size for array in arrays):
    return Interval(None, None, None)
  value = float(np.mean([array.mean() for array in arrays]))
  several = [array for array in arrays if array.size > 1]
  if not several:
    return Interval(value, None, None)
  alone = sum(float(array[0]) for array in arrays if array.size == 1)

  def statistic(*resampled: np.ndarray, axis: int) -> np.ndarray:
    means = [part.mean(axis=axis) for part in resampled]
    return (sum(means) + alone) / len(arrays)

  found = stats.bootstrap(
    several,
    statistic,
    confidence_level=LEVEL,
    n_resamples=_RESAMPLES,
    batch=_BATCH,
    method="percentile",
    rng=np.random.default_rng(seed),
  ).confidence_interval
  # Sums in another order round otherwise, and would leave the value outside.
  low, high = float(found.low), float(found.high)
  return Interval(value, min(low, value), max(high, value))
