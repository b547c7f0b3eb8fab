"""Several processes on this machine are one run."""

import pathlib
import signal
import time
from collections.abc import Callable

import ml_collections
import pytest

from tests.training import runs
from tests.training import toy
from unialign_jax.training import processes


@pytest.fixture(scope="module")
def values(
  make_tiny: Callable[[], ml_collections.ConfigDict],
) -> ml_collections.ConfigDict:
  values = make_tiny()
  values.train.sample_every = values.train.steps
  return values


@pytest.fixture(scope="module")
def alone(
  values: ml_collections.ConfigDict, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """One process with one device."""
  workdir = tmp_path_factory.mktemp("alone")
  runs.end([runs.start(values, workdir)])
  return workdir


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_are_one_run(
  count: int,
  values: ml_collections.ConfigDict,
  alone: pathlib.Path,
  tmp_path: pathlib.Path,
):
  runs.end(runs.start_all(count, values, tmp_path))
  runs.assert_close(tmp_path, alone)
  shown = [p.name for p in (alone / "samples").iterdir()]
  assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == sorted(
    shown
  )


def test_preemption_of_one_stops_both_and_one_goes_on(
  values: ml_collections.ConfigDict, alone: pathlib.Path, tmp_path: pathlib.Path
):
  long = values.copy_and_resolve_references()
  long.train.update(steps=4000, sample_every=0, checkpoint_every=4000)
  started = runs.start_all(2, long, tmp_path)
  runs.wait_for_step(3, tmp_path, started)
  asked = time.monotonic()
  started[1].send_signal(signal.SIGTERM)
  runs.end(started)
  assert time.monotonic() - asked < 30
  (saved,) = (tmp_path / "checkpoints").iterdir()
  step = int(saved.name.removeprefix("step_"))
  assert step >= 3
  # Now one process goes on, with the next batch.
  long.train.steps = step + 1
  runs.end([runs.start(long, tmp_path)])
  assert step + 1 in runs.losses(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others(
  lost: int, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  long = values.copy_and_resolve_references()
  long.train.update(steps=4000, sample_every=0, checkpoint_every=4000)
  started = runs.start_all(2, long, tmp_path)
  runs.wait_for_step(3, tmp_path, started)
  started[lost].kill()
  left = started[1 - lost]
  _, told = left.communicate(timeout=2 * processes.HEARTBEAT_SECONDS)
  started[lost].communicate()
  assert left.returncode != 0, told


_FAILS = """
import jax
from unialign_jax.data import damage, pipeline

read = pipeline.Batches.__next__

def read_or_fail(self):
  if self.next_index == 4 and jax.process_index() == {process}:
    raise {error}("of one process")
  return read(self)

patch.setattr(pipeline.Batches, "__next__", read_or_fail)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  ("process", "error", "status"),
  [(0, "OSError", 1), (1, "damage.DamagedRecordsError", 2)],
)
def test_an_error_of_one_process_ends_the_others(
  process: int,
  error: str,
  status: int,
  values: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
):
  changes = _FAILS.format(process=process, error=error)
  started = toy.start(changes, values, tmp_path, compiled, count=2)
  try:
    runs.wait_for_step(3, tmp_path, started)
    failed = time.monotonic()
    for each in (started[process], started[1 - process]):
      left = failed + 2 * processes.HEARTBEAT_SECONDS - time.monotonic()
      _, told = each.communicate(timeout=left)
      if each is started[process]:
        assert each.returncode == status, told
        assert "of one process" in told
      else:
        assert each.returncode != 0, told
  finally:
    for each in started:
      each.kill()


def test_some_flags_without_the_others():
  with pytest.raises(ValueError, match="expected all three or none"):
    processes.join("127.0.0.1:1", 2, None)
