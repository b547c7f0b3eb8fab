"""Windows: what is in them, and that the first is left out."""

import time

import pytest

from unialign_jax.bench import stages


def test_items_repeat_up_to_the_count() -> None:
  items = stages.Repeated(["a", "b", "c"], 7)
  assert len(items) == 7
  assert [items[i] for i in range(7)] == list("abcabca")
  with pytest.raises(IndexError):
    items[7]


def test_windows_are_timed_apart_and_the_first_is_dropped() -> None:
  def stream():
    for seconds in (0.2, 0.01, 0.05):  # one a window
      time.sleep(seconds)
      yield 1
      yield 10

  timing = stages._timed(stream(), 2, {"things": lambda each: each})
  assert timing.amounts == {"things": (11, 11)}
  first, second = timing.seconds
  assert 0.01 <= first < 0.05 <= second < 0.2
  rates = timing.rates("things")
  assert rates == [11 / first, 11 / second]


def test_one_window_is_warm_up_alone() -> None:
  timing = stages._timed(iter("ab"), 2, {"letters": len})
  assert timing == stages.Timing((), {"letters": ()})
