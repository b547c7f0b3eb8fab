"""Shard by shard: the items that go into each, for those that are wanted."""

import collections
import contextlib
import itertools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.features import reading
from unialign_jax.features import rejects as rejects_lib

Samples = reading.Items | Iterable[reading.Read]


class Part(NamedTuple):
  """The items of one shard, to be taken before the next part is asked for."""

  number: int  # of the shard
  start: int  # number of the first item
  items: Iterator[reading.Read]


def has_random_access(samples: Samples) -> bool:
  """Whether any item can be had without those before it."""
  return hasattr(samples, "__len__") and hasattr(samples, "__getitem__")


def peek(
  samples: Samples, cap: rejects_lib.Cap
) -> tuple[sample_lib.Sample, Samples]:
  """The first sample that is not rejected, and all items.

  Raises:
    ValueError: there is none.
    RejectedError: too many items before it are rejected.
  """
  if has_random_access(samples):
    stream = (samples[i] for i in range(len(samples)))
  else:
    stream = samples = iter(samples)
  before = []
  index = -1
  for index, item in enumerate(stream):
    if not isinstance(item, base.Rejected):
      if has_random_access(samples):
        return item, samples
      return item, itertools.chain(before, [item], samples)
    cap.add_read()
    cap.add(rejects_lib.of_item(index, item))
    if not has_random_access(samples):
      before.append(item)
  rejected = f", as all {index + 1} items were rejected" if index >= 0 else ""
  raise ValueError(
    f"samples: got none{rejected}, expected at least one; check the source and"
    " its options"
  )


@contextlib.contextmanager
def of_items(
  items: reading.Items,
  shard_size: int,
  numbers: Sequence[int],
  *,
  processes: int,
  chunk: int,
) -> Iterator[Iterator[Part]]:
  """Gives the parts `numbers`; reads ahead across them, and nothing else."""
  stop = len(items)
  ranges = [
    (number * shard_size, min(number * shard_size + shard_size, stop))
    for number in numbers
  ]
  stream = reading.read(items, ranges, processes=processes, chunk=chunk)
  with contextlib.closing(stream):
    yield (
      Part(number, start, itertools.islice(stream, stop - start))
      for number, (start, stop) in zip(numbers, ranges, strict=True)
    )


def of_stream(
  stream: Iterable[reading.Read],
  shard_size: int,
  is_wanted: Callable[[int], bool],
) -> Iterator[Part]:
  """Parts of items that must be read in order, the wanted ones."""
  stream = iter(stream)
  for number in itertools.count():
    items = itertools.islice(stream, shard_size)
    if (first := next(items, None)) is None:
      return
    items = itertools.chain([first], items)
    if is_wanted(number):
      yield Part(number, number * shard_size, items)
    collections.deque(items, maxlen=0)  # drops what was left
