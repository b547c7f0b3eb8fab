"""Items of a source, read and decoded in order, by processes that read ahead.

Nothing here needs JAX: a decode process imports this module and the source's,
no more.
"""

import collections
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import process as process_pools
from typing import Any
from typing import Protocol

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base

Read = sample_lib.Sample | base.Rejected
Ranges = Iterable[tuple[int, int]]  # (start, stop), the items that are wanted


class Items(Protocol):
  """Random access over decoded items, such as `data.sources.decoded.Decoded`.

  Pure, and picklable where processes read it.
  """

  def __len__(self) -> int:
    """How many there are, the rejected included."""

  def __getitem__(self, index: int) -> Read:
    """A sample, or why there is none."""


class ReadError(RuntimeError):
  """A fault of a source or of its files; the message names the item."""


def read(
  items: Items, ranges: Ranges, *, processes: int = 0, chunk: int = 1
) -> Iterator[Read]:
  """Items in the order asked for.

  Args:
    items: What is read; with processes each gets a copy.
    ranges: Which items.
    processes: Number of decode processes; 0 reads in this one.
    chunk: Consecutive items a process takes at a time. At most
      2 x processes x chunk decoded items wait in memory.

  Raises:
    ReadError: an item raised, or a process died, while it was read.
  """
  if not processes:
    for start, stop in ranges:
      for index in range(start, stop):
        yield _item(items, index)
    return
  pool = futures.ProcessPoolExecutor(
    processes,
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_begin,
    initargs=(items,),
  )
  try:
    chunks = _chunks(ranges, chunk)
    waiting = collections.deque()
    while True:
      for bounds in itertools.islice(chunks, 2 * processes - len(waiting)):
        waiting.append((bounds, pool.submit(_read_chunk, *bounds)))
      if not waiting:
        return
      yield from _result(*waiting.popleft())
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _chunks(ranges: Ranges, size: int) -> Iterator[tuple[int, int]]:
  for start, stop in ranges:
    for first in range(start, stop, size):
      yield first, min(first + size, stop)


def _result(bounds: tuple[int, int], future: futures.Future) -> list[Read]:
  try:
    return future.result()
  except process_pools.BrokenProcessPool as e:
    raise ReadError(
      f"items {bounds[0]} to {bounds[1] - 1}, or others read at the time: got"
      " a decode process that died, expected samples; if the machine is out of"
      " memory, lower config.reading.processes or config.reading.chunk"
    ) from e


def _item(items: Items, index: int) -> Read:
  try:
    return items[index]
  except Exception as e:
    raise ReadError(
      f"item {index} of {type(items).__name__}: got {type(e).__name__}: {e},"
      " expected a sample or a rejection; mend the file, or the source"
    ) from e


_items: Any = None  # of a decode process


def _begin(items: Items) -> None:
  """Prepares a decode process."""
  global _items
  _items = items
  # Ctrl-C reaches every process of a terminal; the parent ends this one.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """A killed parent does not tell: nobody would take the results."""
  multiprocessing.parent_process().join()
  os._exit(1)


def _read_chunk(start: int, stop: int) -> list[Read]:
  return [_item(_items, index) for index in range(start, stop)]
