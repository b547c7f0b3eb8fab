"""The watchdog: what it ends, with what it leaves, and what it lets be."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import ml_collections
import pytest

from unialign_jax.training import watchdog

ROOT = pathlib.Path(__file__).parents[2]


class _Harmless(watchdog.Watchdog):
  """Tells that it would end the process."""

  def __init__(self, *args, **named):
    super().__init__(*args, **named)
    self.barked = threading.Event()

  def _end(self, idle: float) -> None:
    self.barked.set()


def test_limit_is_a_multiple_of_the_median_and_no_less_than_the_floor(
  tmp_path: pathlib.Path,
) -> None:
  dog = watchdog.Watchdog(tmp_path / "stacks.txt", factor=10.0, seconds=5.0)
  assert dog.limit == 5.0
  for seconds in (0.1, 0.2, 90.0):
    dog.step_ended(seconds)
  dog.step_ended(None)
  assert dog.limit == 5.0
  for _ in range(4):
    dog.step_ended(2.0)
  assert dog.limit == pytest.approx(20.0)
  for _ in range(100):
    dog.step_ended(3.0)
  assert dog.limit == pytest.approx(30.0)


def test_steps_and_pauses_keep_it_quiet(tmp_path: pathlib.Path) -> None:
  path = tmp_path / "stacks.txt"
  with _Harmless(path, factor=2.0, seconds=0.3) as dog:
    for _ in range(8):
      time.sleep(0.1)
      dog.step_ended(0.1)
    with dog.paused():
      time.sleep(0.6)
    time.sleep(0.1)
    assert not dog.barked.is_set()
    assert dog.barked.wait(10)
  assert not path.exists()  # nothing was written


def test_zero_turns_it_off(tmp_path: pathlib.Path) -> None:
  with _Harmless(tmp_path / "stacks.txt", factor=2.0, seconds=0.0) as dog:
    time.sleep(0.2)
  assert not dog.barked.is_set()
  assert not (tmp_path / "stacks.txt").exists()


def test_a_run_without_data_ends_with_its_stacks(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  began = time.monotonic()
  done = subprocess.run(
    [
      *(sys.executable, "-m", "tests.training.toy"),
      '{"spoiled": {}, "stuck": 4}',
      *("--config=tiny.py", f"--workdir={tmp_path}"),
      f"--config.data.sources={tiny.data.sources!r}",
      *(
        "--config.train.watchdog_seconds=2",
        "--config.train.watchdog_factor=3",
      ),
    ],
    cwd=ROOT,
    env={
      **os.environ,
      "JAX_NUM_CPU_DEVICES": "1",
      "JAX_COMPILATION_CACHE_DIR": str(compiled),
    },
    capture_output=True,
    text=True,
    timeout=200,
  )
  assert done.returncode == watchdog.STATUS, done.stderr
  assert time.monotonic() - began < 100
  for text in (done.stderr, (tmp_path / "stacks.txt").read_text()):
    assert "no step has ended for" in text
    assert "wait_for_a_disk_that_is_gone" in text
    assert "_take_step" in text
  # What was saved before stays, and another start goes on from there.
  saved = [path.name for path in (tmp_path / "checkpoints").iterdir()]
  assert saved == ["step_00000003"]


# Sleeps in C with the interpreter's lock: no other Python can run.
_LOCKED = """
import ctypes, sys
from unialign_jax.training import watchdog

with watchdog.Watchdog(
  sys.argv[1], factor=2.0, seconds=0.5, locked_seconds=1.0
):
  ctypes.PyDLL(None).sleep(100)
"""


def test_a_locked_interpreter_is_ended_too(tmp_path: pathlib.Path) -> None:
  began = time.monotonic()
  stacks = tmp_path / "stacks.txt"
  done = subprocess.run(
    [sys.executable, "-c", _LOCKED, str(stacks)], cwd=ROOT, timeout=90
  )
  assert done.returncode not in (0, 2)
  assert time.monotonic() - began < 60
  assert "Timeout" in stacks.read_text()
