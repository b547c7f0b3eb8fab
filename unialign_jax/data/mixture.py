"""Which feature set each step draws from: a pure function of the step.

A global batch comes from one feature set, so it has one task and one shape,
and text-to-image never pays for condition tokens. The weights become a period
of whole steps in which every set has its exact share, spread as evenly as can
be; nothing random, nothing to checkpoint, the same on every host.
"""

import bisect
import sys
from collections.abc import Sequence

import grain
import numpy as np

MAX_PERIOD = 1000


class StepOrder:
  """The feature set of each step.

  The period is the smallest number of steps, up to `MAX_PERIOD`, that meets
  the weights exactly; where none does, it is `MAX_PERIOD` and the shares are
  within 1 / `MAX_PERIOD` of the weights.

  Args:
    weights: One a feature set, positive, of any sum.

  Raises:
    ValueError: a weight is not positive, or too small for the period.
  """

  def __init__(self, weights: Sequence[float]):
    shares = _shares(weights)
    self.counts = _counts(shares)  # steps of each set in a period
    # The j-th of n steps of a set belongs at (j + 1/2) / n of the period.
    places = [
      ((j + 0.5) / count, index)
      for index, count in enumerate(self.counts)
      for j in range(count)
    ]
    self._period = [index for _, index in sorted(places)]
    self._steps = [
      [step for step, index in enumerate(self._period) if index == source]
      for source in range(len(self.counts))
    ]

  @property
  def period(self) -> int:
    return len(self._period)

  def source_at(self, step: int) -> int:
    """Index of the feature set of a step."""
    return self._period[step % self.period]

  def steps_before(self, step: int) -> int:
    """How many earlier steps drew from the same feature set."""
    periods, place = divmod(step, self.period)
    source = self._period[place]
    earlier = bisect.bisect_left(self._steps[source], place)
    return periods * self.counts[source] + earlier

  def drawn_before(self, step: int) -> list[int]:
    """How many earlier steps drew from each feature set."""
    periods, place = divmod(step, self.period)
    return [
      periods * count + bisect.bisect_left(steps, place)
      for count, steps in zip(self.counts, self._steps)
    ]


def _shares(weights: Sequence[float]) -> np.ndarray:
  array = np.asarray(weights, np.float64)
  if not array.size or not (np.isfinite(array) & (array > 0)).all():
    raise ValueError(
      f"data.sources: got weights {list(weights)}, expected at least one, all"
      " positive; remove the sources that should not be used"
    )
  shares = array / array.sum()
  if shares.min() < 1 / MAX_PERIOD:
    raise ValueError(
      f"data.sources: got a weight that is {shares.min():.2g} of the sum,"
      f" expected at least {1 / MAX_PERIOD}; raise it or remove the source"
    )
  return shares


def _counts(shares: np.ndarray) -> list[int]:
  """Steps of each source in the smallest period that is exact, or in 1000."""
  for period in range(1, MAX_PERIOD):
    steps = shares * period
    if np.abs(steps - np.rint(steps)).max() < 1e-6:
      return np.rint(steps).astype(int).tolist()
  steps = shares * MAX_PERIOD
  counts = np.floor(steps).astype(int)
  largest_remainders = np.argsort(counts - steps, kind="stable")
  counts[largest_remainders[: MAX_PERIOD - counts.sum()]] += 1
  return counts.tolist()


class BlockSelection(grain.transforms.DatasetSelectionMap):
  """Element of the global stream -> (feature set, element within it).

  Block k of `batch_size` consecutive elements is the global batch of step k.
  `ElasticIterator` deals a block out to the hosts like cards (host h gets
  elements h, h + hosts, ...), while a global array is made of the hosts' parts
  laid end to end. Undoing the deal here puts each record at the same place of
  the global batch on any number of hosts, so what the step draws for that
  place (noise, times) meets the same record too.

  Args:
    order: Of the steps.
    batch_size: Global, a multiple of `hosts`.
    hosts: Number of parts a batch is dealt out to.
  """

  def __init__(self, order: StepOrder, batch_size: int, hosts: int):
    self._order = order
    self._batch_size = batch_size
    self._hosts = hosts

  def __len__(self) -> int:
    return sys.maxsize // self._batch_size * self._batch_size

  def __getitem__(self, index: int) -> tuple[int, int]:
    step, offset = divmod(index, self._batch_size)
    place, host = divmod(offset, self._hosts)
    position = host * (self._batch_size // self._hosts) + place
    before = self._order.steps_before(step)
    return self._order.source_at(step), before * self._batch_size + position
