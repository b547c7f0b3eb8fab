"""The watchdog: what it ends, with what it leaves, and what it lets be."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import ml_collections
import pytest

from tests.training import toy
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import loop
from unialign_jax.training import program
from unialign_jax.training import setup
from unialign_jax.training import watchdog

ROOT = pathlib.Path(__file__).parents[2]


class _Harmless(watchdog.Watchdog):
  """Tells that it would end the process."""

  def __init__(self, *args, **named):
    super().__init__(*args, **named)
    self.barked = threading.Event()

  def _end(self, idle: float) -> None:
    self.barked.set()


def test_limit_is_a_multiple_of_the_median_and_no_less_than_the_floor() -> None:
  dog = watchdog.Watchdog(factor=10.0, seconds=5.0)
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
  with _Harmless(factor=2.0, seconds=0.3) as dog:
    dog.write_to(path)
    for _ in range(8):
      time.sleep(0.1)
      dog.step_ended(0.1)
    with dog.paused():
      time.sleep(0.6)
    time.sleep(0.1)
    assert not dog.barked.is_set()
    assert dog.barked.wait(10)
  assert not path.exists()  # nothing was written


def test_a_pause_has_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
  assert watchdog.Watchdog(factor=2.0, seconds=600.0)._longest_pause == 3600
  assert watchdog.Watchdog(factor=2.0, seconds=900.0)._longest_pause == 5400
  monkeypatch.setattr(watchdog, "_PAUSE_SECONDS", 1.0)
  with _Harmless(factor=2.0, seconds=0.1) as dog, dog.paused():
    time.sleep(0.5)
    with dog.paused():  # what moves begins anew
      time.sleep(0.7)
    assert not dog.barked.is_set()
    assert dog.barked.wait(10)


def test_zero_turns_it_off(tmp_path: pathlib.Path) -> None:
  with _Harmless(factor=2.0, seconds=0.0) as dog:
    dog.write_to(tmp_path / "stacks.txt")
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


_STUCK_START = """
import time
from unialign_jax.training import setup, watchdog

def read_from_a_disk_that_is_gone(config):
  time.sleep(1000)

patch.setattr(watchdog, "_PAUSE_SECONDS", 3.0)
patch.setattr(setup, "prepare", read_from_a_disk_that_is_gone)
"""


def test_a_start_that_hangs_is_ended(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  flags = ("--config.train.watchdog_seconds=0.1",)
  (run,) = toy.start(_STUCK_START, tiny, tmp_path, compiled, *flags)
  _, told = run.communicate(timeout=100)
  assert run.returncode == watchdog.STATUS, told
  assert "no start, compilation, checkpoint or sample has ended for" in told
  assert "read_from_a_disk_that_is_gone" in told


def test_what_takes_longer_than_a_step_does_not_end_a_run(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  """Start, first step, save, samples, going back, last save."""

  def slow(owner: object, name: str) -> None:
    whole = getattr(owner, name)

    def wait_first(*arguments: object, **named: object) -> object:
      if name not in waited:
        waited.append(name)
        time.sleep(2.5)
      return whole(*arguments, **named)

    monkeypatch.setattr(owner, name, wait_first)

  del compiled
  ended, waited = [], []
  monkeypatch.setattr(
    watchdog.Watchdog, "_end", lambda self, idle: ended.append(idle)
  )
  toy.install(monkeypatch, spoiled={5: 100.0})
  monkeypatch.setattr(setup, "_showcase", lambda *unused: _Showcase().show)
  slow(loop, "_start")
  slow(program.Program, "train_step")
  slow(checkpoint.Checkpoints, "save")
  slow(_Showcase, "show")
  slow(checkpoint.Checkpoints, "restore")
  slow(checkpoint.Checkpoints, "close")
  tiny.optimizer.update(warmup_steps=100, schedule="constant")
  tiny.train.update(
    steps=8,
    checkpoint_every=3,
    sample_every=4,
    spike_window=4,
    spike_factor=1000.0,
    on_spike="rewind",
    watchdog_seconds=2.0,
    watchdog_factor=2.0,
  )
  assert loop.run(config_lib.from_dict(tiny), tmp_path) == 8
  assert not ended
  assert sorted(waited) == sorted(
    ["_start", "train_step", "save", "show", "restore", "close"]
  )


class _Showcase:
  """Draws nothing."""

  def show(self, ema: object) -> list[None]:
    del ema
    return []


# A pipe that nobody reads, in place of a file on storage that is gone.
_FULL = """
import os, time
from unialign_jax.training import watchdog

_, full = os.pipe()
os.set_blocking(full, False)
try:
  while True:
    os.write(full, bytes(4096))
except BlockingIOError:
  os.set_blocking(full, True)
watchdog._TELL_SECONDS = 1.0
with watchdog.Watchdog(factor=2.0, seconds=0.5) as dog:
  dog.write_to(f"/dev/fd/{full}")
  time.sleep(100)
"""


def test_stacks_that_cannot_be_written_do_not_hold_the_end_up() -> None:
  done = subprocess.run(
    [sys.executable, "-c", _FULL], cwd=ROOT, timeout=60, capture_output=True
  )
  assert done.returncode == watchdog.STATUS, done.stderr
  assert b"in <module>" in done.stderr


# Sleeps in C with the interpreter's lock: no other Python can run.
_LOCKED = """
import ctypes, sys
from unialign_jax.training import watchdog

with watchdog.Watchdog(factor=2.0, seconds=0.5, locked_seconds=1.0) as dog:
  dog.write_to(sys.argv[1])
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
