"""Several processes on this machine are one run."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
import pytest

from unialign_jax import checkpoint
from unialign_jax.training import processes


def _free_port() -> int:
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def _start(
  values: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *flags: str,
  devices: int,
) -> subprocess.Popen:
  """One process of a run of configs/tiny.py with these records."""
  keys = [
    f"--config.{group}.{key}={values[group][key]!r}"
    for group, key in (
      ("data", "sources"),
      ("sample", "sources"),
      ("mesh", "data"),
      ("train", "steps"),
      ("train", "sample_every"),
      ("train", "checkpoint_every"),
    )
  ]
  # What compiles longest is not what is tested.
  keys += ["--config.sample.steps=1", "--config.sample.text_steps=1"]
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "unialign_jax.train", "--config=tiny.py"),
      *(f"--workdir={workdir}", *keys, *flags),
    ],
    env={
      **os.environ,
      "JAX_NUM_CPU_DEVICES": str(devices),
      # Compiles in half the time.
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    },
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )


def _start_all(
  count: int, values: ml_collections.ConfigDict, workdir: pathlib.Path
) -> list[subprocess.Popen]:
  port = _free_port()
  return [
    _start(
      values,
      workdir,
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={count}",
      f"--process_id={index}",
      devices=1,
    )
    for index in range(count)
  ]


def _end(started: list[subprocess.Popen]) -> None:
  for process in started:
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told


def _losses(workdir: pathlib.Path) -> dict[int, dict[str, float]]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return {
    line["step"]: {k: v for k, v in line.items() if k.startswith("loss/")}
    for line in map(json.loads, lines)
  }


def _assert_close(got: pathlib.Path, expected: pathlib.Path) -> None:
  """Losses and averaged weights, but for the order of sums."""
  assert sorted(_losses(got)) == sorted(_losses(expected))
  for step, losses in _losses(expected).items():
    assert _losses(got)[step] == pytest.approx(losses, rel=1e-5)
  weights = [checkpoint.load_params(w)[1] for w in (got, expected)]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *weights
  )


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
  _end([_start(values, workdir, devices=1)])
  return workdir


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_are_one_run(
  count: int,
  values: ml_collections.ConfigDict,
  alone: pathlib.Path,
  tmp_path: pathlib.Path,
):
  _end(_start_all(count, values, tmp_path))
  _assert_close(tmp_path, alone)
  shown = [p.name for p in (alone / "samples").iterdir()]
  assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == sorted(
    shown
  )


def test_preemption_of_one_stops_both_and_one_goes_on(
  values: ml_collections.ConfigDict, alone: pathlib.Path, tmp_path: pathlib.Path
):
  long = values.copy_and_resolve_references()
  long.train.steps = 4000
  long.train.sample_every = 0
  long.train.checkpoint_every = 4000
  started = _start_all(2, long, tmp_path)
  metrics = tmp_path / "metrics.jsonl"
  deadline = time.monotonic() + 200
  while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in started)
    time.sleep(0.05)
  asked = time.monotonic()
  started[1].send_signal(signal.SIGTERM)
  _end(started)
  assert time.monotonic() - asked < 30
  (saved,) = (tmp_path / "checkpoints").iterdir()
  step = int(saved.name.removeprefix("step_"))
  assert step >= 3
  # Now one process goes on, with the next batch.
  long.train.steps = step + 1
  _end([_start(long, tmp_path, devices=1)])
  assert step + 1 in _losses(tmp_path)


def test_some_flags_without_the_others():
  with pytest.raises(ValueError, match="expected all three or none"):
    processes.join("127.0.0.1:1", 2, None)
