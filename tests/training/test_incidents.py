"""Steps without an update: what is noted, saved, and when it is enough."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import pytest

from tests.training import toy
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import guard
from unialign_jax.training import loop

NAN = float("nan")


@pytest.fixture(scope="module", autouse=True)
def compile_once(compiled: pathlib.Path) -> Iterator[None]:
  del compiled
  yield


@pytest.fixture
def values(tiny: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  tiny.train.checkpoint_every = 1
  return tiny


def _run(values: ml_collections.ConfigDict, workdir: pathlib.Path) -> int:
  return loop.run(config_lib.from_dict(values), workdir)


def _saved(workdir: pathlib.Path) -> list[int]:
  folder = workdir / checkpoint.FOLDER
  return sorted(int(path.name.split("_")[1]) for path in folder.iterdir())


def test_a_step_that_is_not_finite_is_noted(
  values: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  seen = toy.install(monkeypatch, spoiled={3: NAN})
  assert _run(values, tmp_path) == 6
  (incident,) = toy.lines(tmp_path / "incidents.jsonl")
  assert (incident["step"], incident["kind"]) == (4, "non_finite")
  assert incident["loss/total"] == incident["grad_norm"] == "nan"
  index, source_id, record_ids = seen.batches[3]
  assert incident["batch"] == index == 3
  assert incident["source"] == values.data.sources[source_id][0]
  assert incident["record_ids"] == record_ids.tolist()
  lines = toy.lines(tmp_path / "metrics.jsonl")
  assert [line["skipped"] for line in lines] == [0, 0, 0, 1, 1, 1]
  assert "loss/total" not in lines[3]  # of a single step there is no mean
  # The two before it were saved, and those after it.
  assert _saved(tmp_path) == [3, 5, 6]


def test_too_many_in_a_row_end_the_run_before_the_checkpoints_are_gone(
  values: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  values.train.update(steps=30, max_bad_steps=4)
  bad = {2, 3, 4, *range(8, 30)}  # three in a row are not yet four
  seen = toy.install(monkeypatch, spoiled=dict.fromkeys(bad, NAN))
  with pytest.raises(guard.BadStepsError) as raised:
    _run(values, tmp_path)
  assert _saved(tmp_path) == [6, 7, 8]
  for named in ("checkpoints/step_00000008", "incidents.jsonl", "step 12;"):
    assert named in str(raised.value)
  kinds = [x["step"] for x in toy.lines(tmp_path / "incidents.jsonl")]
  assert kinds == [3, 4, 5, 9, 10, 11, 12]
  assert len(seen.batches) == 12
  _, params = checkpoint.load_params(tmp_path, ema=False)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_a_checkpoint_due_at_a_bad_step_comes_after_it(
  values: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  values.train.update(checkpoint_every=3, steps=7)
  toy.install(monkeypatch, spoiled={2: NAN, 3: NAN})
  assert _run(values, tmp_path) == 7
  assert _saved(tmp_path) == [5, 6, 7]


def _command(
  spoiled: str,
  values: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *flags: str,
) -> subprocess.Popen:
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "tests.training.toy", spoiled),
      *("--config=tiny.py", f"--workdir={workdir}", *flags),
      f"--config.data.sources={values.data.sources!r}",
      *("--config.mesh.data=-1", "--config.train.max_bad_steps=3"),
    ],
    cwd=pathlib.Path(__file__).parents[2],
    env={
      **os.environ,
      "JAX_NUM_CPU_DEVICES": "1",
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    },
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )


def test_two_processes_note_the_records_of_both_and_end_as_a_mistake(
  values: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  free_port: Callable[[], int],
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  spoiled = '{"process": 1, "spoiled": {"3": "nan", "4": "nan", "5": "nan"}}'
  port = free_port()
  started = [
    _command(
      spoiled,
      values,
      tmp_path / "two",
      f"--coordinator=127.0.0.1:{port}",
      *("--num_processes=2", f"--process_id={index}"),
    )
    for index in range(2)
  ]
  try:
    for process in started:
      _, told = process.communicate(timeout=300)
      assert process.returncode == 2, told
      assert "step_00000003" in told and "incidents.jsonl" in told, told
  finally:
    for process in started:
      process.kill()
  # The batches of one process.
  seen = toy.install(monkeypatch)
  _run(values, tmp_path / "one")
  incidents = toy.lines(tmp_path / "two/incidents.jsonl")
  assert [x["step"] for x in incidents] == [4, 5, 6]
  for incident in incidents:
    _, _, record_ids = seen.batches[incident["batch"]]
    assert incident["record_ids"] == record_ids.tolist()
