"""Runs whose network is one array: all of the loop, nothing to compile long.

    python -m tests.training.toy '{"spoiled": {"4": "nan"}}' FLAGS OF TRAIN

The loss is the mean square of the batch's latents, so a test makes a loss by
making a batch. State, optimizer, checkpoints, data and step are the real ones.
"""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from unialign_jax.data import pipeline
from unialign_jax.training import objective as objective_lib
from unialign_jax.training import spikes
from unialign_jax.training import state as state_lib


@dataclasses.dataclass
class Seen:
  """The batches that were asked for: (index, source_id, record_id)."""

  batches: list[tuple[int, int, np.ndarray]] = dataclasses.field(
    default_factory=list
  )

  def indices(self) -> list[int]:
    return [index for index, *_ in self.batches]


def install(
  patch: pytest.MonkeyPatch,
  *,
  spoiled: Mapping[int, float] | None = None,
  instead: Mapping[int, int] | None = None,
  stuck: int | None = None,
  process: int | None = None,
) -> Seen:
  """Puts the array in the network's place.

  Args:
    patch: undoes it.
    spoiled: global batch -> what its latents are multiplied by.
    instead: global batch -> the one that is read in its place and on.
    stuck: global batch that never comes.
    process: whose part alone is spoiled; every process's by default.
  """
  seen = Seen()
  read = pipeline.Batches.__next__

  def read_and_spoil(self: pipeline.Batches) -> dict[str, np.ndarray]:
    if self.next_index in (instead or {}):
      self.skip_to(instead[self.next_index])
    index = self.next_index
    if index == stuck:
      wait_for_a_disk_that_is_gone()
    batch = read(self)
    ids = batch["record_id"]
    seen.batches.append((index, int(batch["source_id"][0]), ids))
    factor = (spoiled or {}).get(index)
    if factor is not None and process in (None, jax.process_index()):
      mean = batch["latents_mean"] * np.float16(factor)
      batch = batch | {"latents_mean": mean}
    return batch

  patch.setattr(pipeline.Batches, "__next__", read_and_spoil)
  patch.setattr(objective_lib.Objective, "gradient", _gradient)
  patch.setattr(state_lib, "create", _create)
  return seen


def wait_for_a_disk_that_is_gone() -> None:
  time.sleep(1000)


def _create(
  model: Any,
  optimizer: optax.GradientTransformation,
  *unused: Any,
  **shapes: Any,
) -> state_lib.TrainState:
  del model, unused, shapes
  params = {"null_image_embed": jnp.zeros((8,))}  # a name that has a place
  return state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=jax.tree.map(lambda p: p + 0.0, params),
    opt_state=optimizer.init(params),
    skipped=jnp.zeros((), jnp.int32),
    spikes=spikes.fresh(),
  )


def _gradient(
  self: objective_lib.Objective,
  params: Any,
  frozen: Any,
  drawn: objective_lib.Draw,
) -> tuple[Any, dict[str, jax.Array]]:
  del self, frozen
  latents = drawn.record["latents_mean"].astype(jnp.float32)
  loss = jnp.mean(jnp.square(latents))
  grads = jax.tree.map(lambda p: loss * (p + 1.0), params)
  return grads, dict.fromkeys(("loss/total", "loss/flow", "loss/text"), loss)


_SCRIPT = """
import pytest
from tests.training import toy
from unialign_jax import train

patch = pytest.MonkeyPatch()
toy.install(patch)
{changes}
train.cli()
"""


def start(
  changes: str,
  values: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  compiled: pathlib.Path,
  *flags: str,
  count: int = 1,
) -> list[subprocess.Popen]:
  """Processes of their own, which are one run of configs/tiny.py.

  Args:
    changes: Python in which `patch` changes more than `install`.
    values: whose records they read.
    workdir: of the run.
    compiled: folder of compiled programs.
    *flags: more of them.
    count: of processes, with one device each.
  """
  with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
  joined = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
  return [
    subprocess.Popen(
      [
        *(sys.executable, "-c", _SCRIPT.format(changes=changes)),
        *("--config=tiny.py", f"--workdir={workdir}", *flags),
        f"--config.data.sources={values.data.sources!r}",
        "--config.mesh.data=-1",
        *([*joined, f"--process_id={index}"] if count > 1 else []),
      ],
      cwd=pathlib.Path(__file__).parents[2],
      env={
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
      },
      stderr=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      text=True,
    )
    for index in range(count)
  ]


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
  return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
  given = json.loads(sys.argv.pop(1))
  given["spoiled"] = {
    int(index): float(factor) for index, factor in given["spoiled"].items()
  }
  install(pytest.MonkeyPatch(), **given)
  from unialign_jax import train  # its flags are not for a test's process

  train.cli()
