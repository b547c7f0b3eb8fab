"""Small states whose numbers follow from their step, on every device."""

import contextlib
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import state as state_lib

_WIDTH = 32


def config(**train: Any) -> config_lib.Config:
  """The config of a run that saves when it is told to; nothing reads data."""
  values = config_lib.load_file("tiny.py")
  values.data.sources = (("nowhere", 1.0),)
  values.train.update({"checkpoint_every": 1, "keep_checkpoints": 2} | train)
  return config_lib.from_dict(values)


def host_state(step: int, rows: int = 64) -> state_lib.TrainState:
  """All durable fields, as host arrays."""
  rng = np.random.default_rng(step)

  def tree(name: str) -> Any:
    if name in ("step", "skipped"):
      return np.full((), step, np.int32)
    return {
      "kernel": rng.normal(size=(rows, _WIDTH)).astype(np.float32),
      "bias": rng.normal(size=(_WIDTH,)).astype(np.float32),
    }

  names = {f.name for f in dataclasses.fields(state_lib.TrainState)}
  return state_lib.TrainState(
    **{name: tree(name) for name in sorted(names - {"frozen"})}
  )


def state(step: int, rows: int = 64) -> state_lib.TrainState:
  """The same, kernels spread over the devices, the rest on all of them."""
  mesh = jax.make_mesh((jax.device_count(),), ("fsdp",))

  def place(x: np.ndarray) -> jax.Array:
    spec = jax.P("fsdp") if x.ndim == 2 else jax.P()
    return jax.device_put(x, jax.NamedSharding(mesh, spec))

  return jax.tree.map(place, host_state(step, rows))


def abstract(like: state_lib.TrainState) -> state_lib.TrainState:
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
  )


def names(workdir: pathlib.Path) -> list[str]:
  """What is in the folder of the checkpoints."""
  return sorted(p.name for p in (workdir / checkpoint.FOLDER).iterdir())


def position(step: int) -> dict[str, int]:
  return {"global_next_index": 1_000_003 * step}


def save(workdir: pathlib.Path, *steps: int, **train: Any) -> None:
  """A run that saves these steps."""
  opened = checkpoint.Checkpoints(workdir, config(**train))
  with contextlib.closing(opened):
    for step in steps:
      opened.save(step, state(step), position(step), force=True)


def assert_is(
  step: int,
  restored: tuple[state_lib.TrainState, dict[str, int]],
  rows: int = 64,
) -> None:
  """That a checkpoint has given what was saved, to the last bit."""
  got, at = restored
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(got), host_state(step, rows)
  )
  assert at == position(step)


def restore(
  workdir: pathlib.Path, **train: Any
) -> tuple[int, tuple[state_lib.TrainState, dict[str, int]]]:
  """Opens a run again: its latest step, and what is restored."""
  opened = checkpoint.Checkpoints(workdir, config(**train))
  with contextlib.closing(opened):
    return opened.latest_step, opened.restore(abstract(state(0)))
