"""Peaks are of the fresh process alone, and faults come back as messages."""

import multiprocessing
import os
import time

import pytest

from unialign_jax.bench import fresh

MIB = 2**20


def fill(mebibytes: int) -> int:
  held = b"x" * (mebibytes * MIB)
  return len(held)


def fill_in_child(mebibytes: int) -> None:
  context = multiprocessing.get_context("spawn")
  child = context.Process(target=fill_and_wait, args=(mebibytes,))
  child.start()
  child.join()


def fill_and_wait(mebibytes: int) -> None:
  fill(mebibytes)
  time.sleep(0.5)


def refuse(text: str) -> None:
  raise ValueError(text)


def divide() -> float:
  return 1 / 0


def test_peak_is_what_the_function_needed() -> None:
  # What this process holds must not count.
  ballast = b"x" * (300 * MIB)
  small, large = fresh.run(fill, 1), fresh.run(fill, 200)
  assert large.value == 200 * MIB
  assert 190 * MIB < large.peak - small.peak < 210 * MIB
  assert small.peak < len(ballast)


def test_the_largest_child_is_seen() -> None:
  small, large = (fresh.run(fill_in_child, n) for n in (1, 200))
  assert 190 * MIB < large.child_peak - small.child_peak < 210 * MIB
  assert abs(large.peak - small.peak) < 10 * MIB


def test_faults_come_back() -> None:
  with pytest.raises(ValueError, match="no such thing"):
    fresh.run(refuse, "no such thing")
  with pytest.raises(RuntimeError, match="in divide"):
    fresh.run(divide)
  with pytest.raises(RuntimeError, match="exit code 3"):
    fresh.run(os._exit, 3)
