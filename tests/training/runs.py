"""Training runs of configs/tiny.py as processes of their own."""

import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
import pytest

from unialign_jax import checkpoint


def start(
  values: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *flags: str,
  devices: int = 1,
  module: str = "unialign_jax.train",
) -> subprocess.Popen:
  """One process, with the keys in which `values` may differ from the file."""
  keys = [
    f"--config.{group}.{key}={_plain(values[group][key])}"
    for group, key in (
      ("data", "sources"),
      ("sample", "sources"),
      ("mesh", "data"),
      ("mesh", "fsdp"),
      ("optimizer", "schedule"),
      ("train", "steps"),
      ("train", "log_records"),
      ("train", "sample_every"),
      ("train", "checkpoint_every"),
    )
  ]
  # What compiles longest is not what is tested.
  keys += ["--config.sample.steps=1", "--config.sample.text_steps=1"]
  return subprocess.Popen(
    [
      *(sys.executable, "-m", module, "--config=tiny.py"),
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


def _plain(value: object) -> str:
  """As a flag takes it."""
  return value if isinstance(value, str) else repr(value)


def start_all(
  count: int,
  values: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  module: str = "unialign_jax.train",
) -> list[subprocess.Popen]:
  """So many processes, which are one run."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
  return [
    start(
      values,
      workdir,
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={count}",
      f"--process_id={index}",
      module=module,
    )
    for index in range(count)
  ]


def end(started: Sequence[subprocess.Popen]) -> None:
  """Waits for all of them to end well."""
  for process in started:
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told


def kill_after(
  step: int, workdir: pathlib.Path, started: Sequence[subprocess.Popen]
) -> None:
  """SIGKILL to all of them, at a later step than the checkpoint of this one.

  The steps between are lost, and are to be taken again.
  """
  saved = workdir / "checkpoints" / f"step_{step:08d}"
  _wait(lambda: saved.exists(), started)
  wait_for_step(step + 2, workdir, started)
  for process in reversed(started):  # who coordinates, last
    process.kill()
  for process in started:
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def wait_for_step(
  step: int, workdir: pathlib.Path, started: Sequence[subprocess.Popen]
) -> None:
  """Until the run has told of a step."""
  _wait(lambda: max(losses(workdir), default=0) >= step, started)


def _wait(
  is_there: Callable[[], bool], started: Sequence[subprocess.Popen]
) -> None:
  deadline = time.monotonic() + 300
  while not is_there():
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in started)
    time.sleep(0.02)


def losses(workdir: pathlib.Path) -> dict[int, dict[str, float]]:
  """By step; of a step that was taken again, the last."""
  path = workdir / "metrics.jsonl"
  whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
  return {
    line["step"]: {k: v for k, v in line.items() if k.startswith("loss/")}
    for line in map(json.loads, whole.splitlines())
  }


def assert_close(
  got: pathlib.Path, expected: pathlib.Path, tolerance: float = 1e-5
) -> None:
  """Losses and averaged weights, but for the order of sums."""
  mine, theirs = losses(got), losses(expected)
  assert sorted(mine) == sorted(theirs)
  for step, values in theirs.items():
    assert mine[step] == pytest.approx(values, rel=tolerance)
  weights = [
    [np.asarray(x) for x in jax.tree.leaves(checkpoint.load_params(w)[1])]
    for w in (got, expected)
  ]
  # As one vector: what begins at zero and has next to no gradient (biases of
  # keys) is moved by Adam in steps of the rounding's sign.
  mine, theirs = (np.concatenate([x.ravel() for x in w]) for w in weights)
  assert np.linalg.norm(mine - theirs) <= tolerance * np.linalg.norm(theirs)


def records(workdir: pathlib.Path) -> dict[int, tuple[str, list[int]]]:
  """Source and sorted record ids of each step, from all processes.

  Of a step that was taken again the lines of the last start that has any
  count, and of several in one file the last.
  """
  files = [
    [json.loads(line) for line in path.read_text().splitlines()]
    for path in workdir.glob("records*.jsonl")
  ]
  last: dict[int, int] = {}
  for line in itertools.chain(*files):
    last[line["step"]] = max(line["start"], last.get(line["step"], 0))
  found: dict[int, tuple[str, list[int]]] = {}
  for lines in files:
    for step, line in {line["step"]: line for line in lines}.items():
      if line["start"] == last[step]:
        source, ids = found.get(step, (line["source"], []))
        assert source == line["source"]
        found[step] = (source, sorted(ids + line["record_ids"]))
  return found
