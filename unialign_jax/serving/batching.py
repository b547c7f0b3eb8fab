"""Requests that wait for the one model are gathered into its batches.

Rows (a picture or a text that is wanted) go together that have the same key,
i.e. settings. The first row of a quiet time waits a moment for company; while
the model is busy, whatever comes gathers anyway.

Order: the request that has waited longest picks the key, and the requests of
that key give one row each in turn. One that has rows left then stands at the
end of the line, so a large request does not hold up small ones, and none
waits for ever.
"""

import asyncio
import collections
import concurrent.futures
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger(__name__)
_LONGEST_RETRY = 60  # seconds


class Full(Exception):
  """Too many rows wait; `retry_after` seconds may make room."""

  def __init__(self, retry_after: int):
    super().__init__(retry_after)
    self.retry_after = retry_after


class Closed(Exception):
  """The server is about to end and begins nothing new."""


@dataclasses.dataclass(eq=False)
class _Ticket:
  """The rows of one request."""

  key: Hashable
  todo: collections.deque[tuple[int, Any]]
  results: list[Any]
  left: int
  future: asyncio.Future[list[Any]]
  since: float
  has_begun: bool = False


@dataclasses.dataclass
class Counts:
  """What the model was asked for since the start."""

  batches: int = 0
  rows: int = 0
  refused: int = 0


class Batcher:
  """The line of requests, and the one thread in which the model runs.

  Args:
    call: (key, rows) -> a result for each row; runs in that thread.
    batch_size: most rows of one call.
    window: seconds that the first row of a quiet time waits.
    max_waiting: most rows that wait.
  """

  def __init__(
    self,
    call: Callable[[Any, list[Any]], Sequence[Any]],
    *,
    batch_size: int,
    window: float,
    max_waiting: int,
  ):
    self._call = call
    self._batch_size = batch_size
    self._window = window
    self._max_waiting = max_waiting
    self._tickets: collections.deque[_Ticket] = collections.deque()
    self._news = asyncio.Event()
    self._is_closed = False
    self._seconds = 1.0  # a batch takes, lately
    self.counts = Counts()
    self.running = 0

  @property
  def waiting(self) -> int:
    """Rows that wait."""
    return sum(len(ticket.todo) for ticket in self._tickets)

  @property
  def is_closed(self) -> bool:
    return self._is_closed

  async def submit(self, key: Hashable, rows: Sequence[Any]) -> list[Any]:
    """The results of rows. Cancelled, it takes back those that only wait.

    Raises:
      Full: there is no room for them; nothing was taken.
      Closed: the server ends, and none of them has begun.
      Exception: what `call` raised for one of them.
    """
    if self._is_closed:
      raise Closed
    if self.waiting + len(rows) > self._max_waiting:
      self.counts.refused += 1
      batches = math.ceil(self.waiting / self._batch_size)
      pause = math.ceil(max(batches, 1) * self._seconds)
      raise Full(min(max(pause, 1), _LONGEST_RETRY))
    ticket = _Ticket(
      key,
      collections.deque(enumerate(rows)),
      [None] * len(rows),
      len(rows),
      asyncio.get_running_loop().create_future(),
      time.monotonic(),
    )
    self._tickets.append(ticket)
    self._news.set()
    try:
      return await ticket.future
    finally:
      self._drop(ticket)

  def close(self) -> None:
    """Refuses what is new and what only waits; what has begun ends well."""
    self._is_closed = True
    for ticket in list(self._tickets):
      if not ticket.has_begun:
        self._fail(ticket, Closed())
    self._news.set()

  async def run(self) -> None:
    """Serves until `close`, then ends what has begun."""
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1, "model") as thread:
      while await self._gather():
        batch = self._take()
        rows = [row for _, _, row in batch]
        self.running = len(rows)
        start = time.monotonic()
        results = await loop.run_in_executor(
          thread, self._results, batch[0][0].key, rows
        )
        self._seconds += 0.3 * (time.monotonic() - start - self._seconds)
        self.running = 0
        for (ticket, index, _), result in zip(batch, results, strict=True):
          self._give(ticket, index, result)

  async def _gather(self) -> bool:
    """Waits until a batch shall run; False once there is none to come."""
    while True:
      self._news.clear()
      if self._tickets:
        first = self._tickets[0]
        ready = sum(len(t.todo) for t in self._tickets if t.key == first.key)
        pause = first.since + self._window - time.monotonic()
        if ready >= self._batch_size or pause <= 0 or self._is_closed:
          return True
      elif self._is_closed:
        return False
      else:
        pause = None
      try:
        await asyncio.wait_for(self._news.wait(), pause)
      except TimeoutError:
        continue

  def _take(self) -> list[tuple[_Ticket, int, Any]]:
    """The rows of the next batch, one of each request in turn."""
    key = self._tickets[0].key
    chosen = [ticket for ticket in self._tickets if ticket.key == key]
    batch = []
    while chosen and len(batch) < self._batch_size:
      for ticket in chosen[: self._batch_size - len(batch)]:
        batch.append((ticket, *ticket.todo.popleft()))
        ticket.has_begun = True
      chosen = [ticket for ticket in chosen if ticket.todo]
    for ticket in dict.fromkeys(ticket for ticket, _, _ in batch):
      self._tickets.remove(ticket)
      if ticket.todo:
        self._tickets.append(ticket)
    return batch

  def _results(self, key: Any, rows: list[Any]) -> list[Any]:
    """In the model's thread: a result or an exception for each row.

    A batch that fails is tried again row by row, so that a row that cannot be
    done harms no other.
    """
    self.counts.batches += 1
    self.counts.rows += len(rows)
    try:
      return list(self._call(key, rows))
    except Exception as error:
      if len(rows) == 1:
        return [error]
      _log.warning("%d rows failed together (%r)", len(rows), error)
    return [self._results(key, [row])[0] for row in rows]

  def _give(self, ticket: _Ticket, index: int, result: Any) -> None:
    if isinstance(result, Exception):
      self._fail(ticket, result)
      return
    ticket.results[index] = result
    ticket.left -= 1
    if not ticket.left and not ticket.future.done():
      ticket.future.set_result(ticket.results)

  def _fail(self, ticket: _Ticket, error: Exception) -> None:
    self._drop(ticket)
    if not ticket.future.done():
      ticket.future.set_exception(error)

  def _drop(self, ticket: _Ticket) -> None:
    """Takes a request out of the line."""
    ticket.todo.clear()
    if ticket in self._tickets:
      self._tickets.remove(ticket)
