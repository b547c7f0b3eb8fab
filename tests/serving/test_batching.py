"""The line of requests: what runs together, in which order, and who waits."""

import asyncio
import threading
import time
from collections.abc import Callable
from collections.abc import Coroutine
from typing import Any

import pytest

from unialign_jax.serving import batching


class Model:
  """Echoes rows; notes its batches, and stands still until it may go on."""

  def __init__(self):
    self.batches: list[tuple[Any, list[Any]]] = []
    self.may_go_on = threading.Event()
    self.may_go_on.set()

  def __call__(self, key: Any, rows: list[Any]) -> list[Any]:
    self.batches.append((key, list(rows)))
    assert self.may_go_on.wait(10)
    if "bad" in rows:
      raise ValueError("a bad row")
    return [f"{key}:{row}" for row in rows]


def _served(
  body: Callable[[batching.Batcher, Model], Coroutine[Any, Any, None]],
  **settings: Any,
) -> Model:
  """Runs `body` while the line is served; all of it ends in time."""
  model = Model()
  defaults = {"batch_size": 4, "window": 0.0, "max_waiting": 100}

  async def run() -> None:
    line = batching.Batcher(model, **{**defaults, **settings})
    serving = asyncio.create_task(line.run())
    try:
      await asyncio.wait_for(body(line, model), 20)
    finally:
      model.may_go_on.set()
      line.close()
      await asyncio.wait_for(serving, 20)

  asyncio.run(run())
  return model


async def _busy(line: batching.Batcher, model: Model) -> asyncio.Task:
  """A batch that runs until `model.may_go_on` is set."""
  model.may_go_on.clear()
  first = asyncio.create_task(line.submit("busy", ["x"]))
  while not line.running:
    await asyncio.sleep(0.001)
  return first


async def _queued(
  line: batching.Batcher, *requests: tuple[str, list[str]]
) -> list[asyncio.Task]:
  """Requests in the line, in this order."""
  tasks = []
  for key, rows in requests:
    tasks.append(asyncio.create_task(line.submit(key, rows)))
    await asyncio.sleep(0)
  return tasks


def test_what_comes_together_runs_together():
  async def body(line: batching.Batcher, model: Model) -> None:
    asked = [line.submit("k", [str(i)]) for i in range(4)]
    start = time.monotonic()
    got = await asyncio.gather(*asked)
    assert got == [[f"k:{i}"] for i in range(4)]
    # A full batch does not wait for the end of the window.
    assert time.monotonic() - start < 5

  model = _served(body, window=10.0)
  assert [len(rows) for _, rows in model.batches] == [4]


def test_the_first_waits_for_the_window_and_no_longer():
  async def body(line: batching.Batcher, model: Model) -> None:
    start = time.monotonic()
    one = asyncio.create_task(line.submit("k", ["a"]))
    await asyncio.sleep(0.05)
    assert not model.batches
    assert await line.submit("k", ["b"]) == ["k:b"]
    assert await one == ["k:a"]
    assert 0.2 <= time.monotonic() - start < 5

  assert _served(body, window=0.2).batches == [("k", ["a", "b"])]


def test_keys_stay_apart_and_the_oldest_is_first():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    tasks = await _queued(
      line, ("a", ["1"]), ("b", ["2"]), ("a", ["3"]), ("b", ["4"])
    )
    model.may_go_on.set()
    got = await asyncio.gather(first, *tasks)
    assert got[1:] == [["a:1"], ["b:2"], ["a:3"], ["b:4"]]

  model = _served(body)
  assert model.batches[1:] == [("a", ["1", "3"]), ("b", ["2", "4"])]


def test_a_batch_is_never_larger_than_that():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    tasks = await _queued(line, *(("k", [str(i), "x"]) for i in range(7)))
    model.may_go_on.set()
    await asyncio.gather(first, *tasks)

  model = _served(body)
  assert [len(rows) for _, rows in model.batches] == [1, 4, 4, 4, 2]


def test_a_large_request_does_not_hold_up_small_ones():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    large = [str(i) for i in range(9)]
    tasks = await _queued(line, ("k", large), ("other", ["y"]), ("k", ["z"]))
    model.may_go_on.set()
    got = await asyncio.gather(first, *tasks)
    assert got[1] == [f"k:{i}" for i in range(9)]  # in order

  model = _served(body)
  assert model.batches[1:] == [
    ("k", ["0", "z", "1", "2"]),
    ("other", ["y"]),
    ("k", ["3", "4", "5", "6"]),
    ("k", ["7", "8"]),
  ]


def test_none_waits_for_ever():
  """New requests all the time; one with more rows than a batch still ends."""

  async def body(line: batching.Batcher, model: Model) -> None:
    async def flood() -> None:
      while True:
        await line.submit("flood", ["x"])

    floods = [asyncio.create_task(flood()) for _ in range(8)]
    got = await asyncio.wait_for(line.submit("k", list("abcdefghij")), 10)
    assert len(got) == 10
    for task in floods:
      task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)

  _served(body)


def test_a_full_line_refuses_and_says_when_to_come_again():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    tasks = await _queued(line, ("k", ["1", "2", "3"]))
    assert line.waiting == 3
    with pytest.raises(batching.Full) as caught:
      await line.submit("k", ["4", "5"])
    assert 1 <= caught.value.retry_after <= 60
    assert line.waiting == 3 and line.counts.refused == 1
    tasks += await _queued(line, ("k", ["4"]))
    model.may_go_on.set()
    await asyncio.gather(first, *tasks)

  model = _served(body, max_waiting=4)
  assert model.batches[-1] == ("k", ["1", "4", "2", "3"])


def test_who_leaves_takes_back_what_has_not_begun():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    gone, stays = await _queued(line, ("k", ["gone"]), ("k", ["stays"]))
    gone.cancel()
    await asyncio.sleep(0)
    assert line.waiting == 1
    first.cancel()  # runs already: its result is dropped
    model.may_go_on.set()
    assert await stays == ["k:stays"]

  assert _served(body).batches == [("busy", ["x"]), ("k", ["stays"])]


def test_a_bad_row_harms_no_other():
  async def body(line: batching.Batcher, model: Model) -> None:
    first = await _busy(line, model)
    tasks = await _queued(line, ("k", ["1"]), ("k", ["bad"]), ("k", ["2"]))
    model.may_go_on.set()
    got = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert got[1] == ["k:1"] and got[3] == ["k:2"]
    assert isinstance(got[2], ValueError)
    assert await line.submit("k", ["3"]) == ["k:3"]

  _served(body)


def test_a_bad_row_ends_its_request():
  async def body(line: batching.Batcher, model: Model) -> None:
    with pytest.raises(ValueError, match="a bad row"):
      await line.submit("k", ["bad", *map(str, range(9))])
    assert line.waiting == 0

  _served(body)


def test_the_end_finishes_what_has_begun_and_refuses_the_rest():
  async def body(line: batching.Batcher, model: Model) -> None:
    model.may_go_on.clear()
    (begun,) = await _queued(line, ("k", list("abcdef")))
    while not line.running:
      await asyncio.sleep(0.001)
    (waits,) = await _queued(line, ("other", ["w"]))
    line.close()
    with pytest.raises(batching.Closed):
      await waits
    with pytest.raises(batching.Closed):
      await line.submit("k", ["new"])
    model.may_go_on.set()
    assert await begun == [f"k:{row}" for row in "abcdef"]

  model = _served(body)
  assert [key for key, _ in model.batches] == ["k", "k"]
