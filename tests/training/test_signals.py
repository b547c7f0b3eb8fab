"""Ctrl-C and SIGTERM: what is saved, by whom, and what they must not break."""

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Sequence

import ml_collections
import pytest

from tests.training import runs
from tests.training import toy
from unialign_jax import config as config_lib
from unialign_jax.training import loop
from unialign_jax.training import stopping

_LONG = ("--config.train.steps=4000", "--config.train.checkpoint_every=4000")

# Steps of a quarter of a second, in which processes are apart.
_SLOW_DATA = """
import time
from unialign_jax.data import pipeline

read = pipeline.Batches.__next__

def read_slowly(self):
  time.sleep(0.25)
  return read(self)

patch.setattr(pipeline.Batches, "__next__", read_slowly)
"""

_SLOW_SAVE = (
  _SLOW_DATA
  + """
import pathlib, sys
from unialign_jax.checkpoint import checksums

seal = checksums.seal

def seal_slowly(folder):
  pathlib.Path({mark!r}).touch()
  time.sleep(4)
  seal(folder)

patch.setattr(checksums, "seal", seal_slowly)
"""
)


def _saved(workdir: pathlib.Path) -> list[str]:
  return sorted(path.name for path in (workdir / "checkpoints").glob("*"))


def _end(started: Sequence[subprocess.Popen]) -> None:
  """All end well, in time."""
  try:
    for process in started:
      _, told = process.communicate(timeout=100)
      assert process.returncode == 0, told
  finally:
    for process in started:
      process.kill()


@pytest.mark.parametrize(
  "asked",
  [
    pytest.param((0,), marks=pytest.mark.slow),
    (1,),
    # As a terminal does.
    pytest.param((0, 1), marks=pytest.mark.slow),
  ],
)
def test_ctrl_c_to_some_of_two_processes_saves_the_same_step(
  asked: tuple[int, ...],
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  started = toy.start(_SLOW_DATA, tiny, tmp_path, compiled, *_LONG, count=2)
  runs.wait_for_step(3, tmp_path, started)
  begun = time.monotonic()
  for index in asked:
    started[index].send_signal(signal.SIGINT)
  _end(started)
  assert time.monotonic() - begun < 30
  # One folder, to which both have added: it would have no name otherwise.
  (saved,) = _saved(tmp_path)
  assert int(saved.removeprefix("step_")) == max(runs.losses(tmp_path)) >= 3


@pytest.mark.slow
def test_a_continued_run_of_two_processes_is_stopped_as_well(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  for step in (3, 8):
    started = toy.start(_SLOW_DATA, tiny, tmp_path, compiled, *_LONG, count=2)
    runs.wait_for_step(step, tmp_path, started)
    started[1].send_signal(signal.SIGTERM)
    _end(started)
  assert len(_saved(tmp_path)) == 2


def test_sigterm_does_not_end_the_save_that_it_has_asked_for(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  mark = tmp_path / "sealing"
  changes = _SLOW_SAVE.format(mark=str(mark))
  workdir = tmp_path / "run"
  started = toy.start(changes, tiny, workdir, compiled, *_LONG)
  runs.wait_for_step(3, workdir, started)
  started[0].send_signal(signal.SIGTERM)
  while not mark.exists():
    assert started[0].poll() is None
    time.sleep(0.02)
  for _ in range(4):
    time.sleep(0.5)
    started[0].send_signal(signal.SIGTERM)
  _end(started)
  (saved,) = _saved(workdir)
  assert int(saved.removeprefix("step_")) == max(runs.losses(workdir))


# While JAX is already listening, and the run is not.
_EARLY = """
import os, signal, time
from unialign_jax.training import setup

prepare = setup.prepare

def prepare_and_stop(config):
  os.kill(os.getpid(), signal.SIGTERM)
  time.sleep(4)  # JAX looks once a second
  return prepare(config)

patch.setattr(setup, "prepare", prepare_and_stop)
"""


@pytest.mark.parametrize("count", [1, 2])
def test_sigterm_early_in_a_continued_run_is_not_lost(
  count: int,
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  few = ("--config.train.steps=5", "--config.train.checkpoint_every=5")
  _end(toy.start("", tiny, tmp_path, compiled, *few, count=count))
  begun = time.monotonic()
  _end(toy.start(_EARLY, tiny, tmp_path, compiled, *_LONG, count=count))
  assert time.monotonic() - begun < 60
  assert max(runs.losses(tmp_path)) < 10


def test_sigterm_during_the_start_takes_no_step(
  tiny: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  def start_and_stop(*arguments: object) -> object:
    os.kill(os.getpid(), signal.SIGTERM)
    return start(*arguments)

  del compiled
  seen = toy.install(monkeypatch)
  start = loop._start
  monkeypatch.setattr(loop, "_start", start_and_stop)
  assert loop.run(config_lib.from_dict(tiny), tmp_path) == 0
  assert not seen.batches and not _saved(tmp_path)
  last = toy.lines(tmp_path / "goodput.jsonl")[-1]
  assert (last["event"], last["reason"]) == ("end", "SIGTERM")


def test_the_second_ctrl_c_interrupts_at_once() -> None:
  before = signal.getsignal(signal.SIGINT)
  with stopping.StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == "SIGINT"
    with pytest.raises(KeyboardInterrupt):
      _interrupt()
  assert signal.getsignal(signal.SIGINT) is before


def _interrupt() -> None:
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(5)
