"""Damaged records over the starts of a run: they add up, and are enough once.

The pipeline's part, record by record, is in tests/data/test_pipeline.py.
"""

import pathlib
import shutil
from collections.abc import Iterator

import ml_collections
import pytest

from tests.data import pipelines
from tests.training import toy
from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.training import loop

DAMAGED = [2, 3, 5]


@pytest.fixture(scope="module", autouse=True)
def compile_once(compiled: pathlib.Path) -> Iterator[None]:
  del compiled
  yield


@pytest.fixture
def damaged(features: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """A feature set of 24 records, three of which are damaged."""
  folder = tmp_path / "set"
  shutil.copytree(features / "train/text_to_image", folder)
  pipelines.damage_records(folder, DAMAGED)
  return folder


@pytest.fixture
def values(
  tiny: ml_collections.ConfigDict, damaged: pathlib.Path
) -> ml_collections.ConfigDict:
  tiny.data.sources = ((str(damaged), 1.0),)
  # An epoch: all of the damage is met.
  tiny.train.update(steps=3, checkpoint_every=3, log_every=1)
  tiny.optimizer.schedule = "constant"
  return tiny


def _run(values: ml_collections.ConfigDict, workdir: pathlib.Path) -> int:
  return loop.run(config_lib.from_dict(values), workdir)


def test_the_count_goes_on(
  values: ml_collections.ConfigDict,
  features: pathlib.Path,
  damaged: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  toy.install(monkeypatch)
  values.data.max_damaged_records = 3
  workdir = tmp_path / "run"
  assert _run(values, workdir) == 3
  # Mended, so that what is counted now has been counted before.
  whole = features / "train/text_to_image"
  shutil.copytree(whole, damaged, dirs_exist_ok=True)
  values.train.steps = 5
  assert _run(values, workdir) == 5
  counts = [
    line["damaged_records"] for line in toy.lines(workdir / "metrics.jsonl")
  ]
  assert counts[2:] == [3, 3, 3]
  noted = toy.lines(workdir / "damaged.jsonl")
  assert sorted(line["index"] for line in noted) == DAMAGED
  assert {line["folder"] for line in noted} == {str(damaged)}


def test_too_many_end_the_run_as_a_mistake_and_so_they_do_at_the_next_start(
  values: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  workdir = tmp_path / "run"
  (process,) = toy.start(
    "", values, workdir, compiled, "--config.data.max_damaged_records=2"
  )
  _, told = process.communicate(timeout=300)
  assert process.returncode == 2, told
  assert "error: got 3 damaged records, expected at most 2" in told
  assert f"delete {workdir / 'damaged.jsonl'}, or raise" in told
  seen = toy.install(monkeypatch)
  values.data.max_damaged_records = 2
  with pytest.raises(damage.DamagedRecordsError, match="earlier starts"):
    _run(values, workdir)
  assert not seen.batches
  values.data.max_damaged_records = 3
  assert _run(values, workdir) == 3
