"""A run that is stopped and continued is the run that was never stopped."""

import collections
import pathlib
import signal
import subprocess
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.training import runs

STEPS = 12


@pytest.fixture(scope="module")
def values(
  make_tiny: Callable[[], ml_collections.ConfigDict],
) -> ml_collections.ConfigDict:
  values = make_tiny()
  values.optimizer.schedule = "constant"  # whatever the last step is
  values.train.update(
    steps=STEPS, checkpoint_every=4, sample_every=0, log_records=True
  )
  return values


@pytest.fixture(scope="module")
def whole(
  values: ml_collections.ConfigDict, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """One process, one device, all steps at once."""
  workdir = tmp_path_factory.mktemp("whole")
  runs.end([runs.start(values, workdir)])
  return workdir


def _state(workdir: pathlib.Path) -> list[np.ndarray]:
  """Weights, average, moments and counters after the last step."""
  path = workdir / "checkpoints" / f"step_{STEPS:08d}" / "state"
  with ocp.PyTreeCheckpointer() as reader:
    return jax.tree.leaves(reader.restore(path))


def test_every_record_comes_once_an_epoch(
  whole: pathlib.Path, values: ml_collections.ConfigDict
):
  """24 records a set: three steps of eight are an epoch of one."""
  by_source = collections.defaultdict(list)
  for _, (source, ids) in sorted(runs.records(whole).items()):
    by_source[source] += ids
  assert {source for source, _ in values.data.sources} == set(by_source)
  for ids in by_source.values():
    assert len(ids) == STEPS // 2 * 8
    for epoch in (ids[:24], ids[24:]):
      assert sorted(epoch) == list(range(24))


def test_killed_and_stopped_is_equal_bit_for_bit(
  whole: pathlib.Path, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  """SIGKILL after step 5, SIGTERM after step 9."""
  for step, number in ((5, signal.SIGKILL), (9, signal.SIGTERM)):
    process = runs.start(values, tmp_path, module="tests.training.slow_train")
    runs.wait_for_step(step, tmp_path, [process])
    process.send_signal(number)
    _, told = process.communicate(timeout=300)
    assert process.returncode == (-9 if number == signal.SIGKILL else 0), told
    assert max(runs.losses(tmp_path)) < STEPS
  runs.end([runs.start(values, tmp_path)])
  assert runs.losses(tmp_path) == runs.losses(whole)
  assert runs.records(tmp_path) == runs.records(whole)
  for got, expected in zip(_state(tmp_path), _state(whole), strict=True):
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_eight_then_four_then_one_device(
  whole: pathlib.Path, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  """SIGKILL on eight after the checkpoint of step 4, SIGTERM on four."""
  spread = values.copy_and_resolve_references()
  spread.mesh.update(data=-1, fsdp=2)
  slow = {"module": "tests.training.slow_train"}
  eight = runs.start(spread, tmp_path, devices=8, **slow)
  runs.kill_after(4, tmp_path, [eight])
  four = runs.start(spread, tmp_path, devices=4, **slow)
  _stop_at(7, tmp_path, [four])
  runs.end([runs.start(values, tmp_path)])
  _assert_same(tmp_path, whole)


@pytest.mark.slow
def test_four_then_two_then_one_process(
  whole: pathlib.Path, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  """SIGKILL to all four after the checkpoint of step 4, SIGTERM to one of two.

  Two have the steps after it taken again: what the four have noted of these is
  of no step of the run any more.
  """
  slow = "tests.training.slow_train"
  runs.kill_after(4, tmp_path, runs.start_all(4, values, tmp_path, slow))
  _stop_at(7, tmp_path, runs.start_all(2, values, tmp_path, slow))
  runs.end([runs.start(values, tmp_path)])
  _assert_same(tmp_path, whole)


def _stop_at(
  step: int, workdir: pathlib.Path, started: list[subprocess.Popen]
) -> None:
  """SIGTERM to the last of them at a step; all save the same one, and end."""
  runs.wait_for_step(step, workdir, started)
  started[-1].send_signal(signal.SIGTERM)
  runs.end(started)
  saved = [int(p.name[5:]) for p in (workdir / "checkpoints").glob("step_*")]
  assert step <= max(saved) < STEPS


def _assert_same(got: pathlib.Path, expected: pathlib.Path) -> None:
  lines = (got / "metrics.jsonl").read_text().splitlines()
  assert len(lines) > STEPS  # steps were taken again
  runs.assert_close(got, expected)
  assert runs.records(got) == runs.records(expected)
