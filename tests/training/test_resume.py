"""A run that is stopped and continued is the run that was never stopped."""

import collections
import pathlib
import signal
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


def _until(
  values: ml_collections.ConfigDict, steps: int
) -> ml_collections.ConfigDict:
  values = values.copy_and_resolve_references()
  values.train.steps = steps
  return values


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


def test_eight_then_four_then_one_device(
  whole: pathlib.Path, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  for devices, steps in ((8, 4), (4, 8), (1, STEPS)):
    part = _until(values, steps)
    part.mesh.update(data=-1, fsdp=2 if devices > 1 else 1)
    runs.end([runs.start(part, tmp_path, devices=devices)])
  runs.assert_close(tmp_path, whole)
  assert runs.records(tmp_path) == runs.records(whole)


def test_four_then_two_then_one_process(
  whole: pathlib.Path, values: ml_collections.ConfigDict, tmp_path: pathlib.Path
):
  for count, steps in ((4, 4), (2, 8)):
    runs.end(runs.start_all(count, _until(values, steps), tmp_path))
  runs.end([runs.start(values, tmp_path)])
  runs.assert_close(tmp_path, whole)
  assert runs.records(tmp_path) == runs.records(whole)
