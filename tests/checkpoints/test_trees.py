"""Another state than the checkpoint's is refused before anything is read."""

import contextlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint
from unialign_jax.checkpoint import trees
from unialign_jax.training import state as state_lib


def _other(like: state_lib.TrainState) -> state_lib.TrainState:
  """Every kind of difference at once."""
  kernel = like.params["kernel"]
  return like.replace(
    params=like.params | {"kernel": kernel.update(shape=(128, 32))},
    ema=like.ema | {"bias": like.ema["bias"].update(dtype=jnp.bfloat16)},
    opt_state={"mu": like.opt_state["kernel"], "bias": like.opt_state["bias"]},
  )


def test_all_differences_come_in_one_message(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  states.save(tmp_path, 1)
  opened = checkpoint.Checkpoints(tmp_path, states.config())
  with contextlib.closing(opened):
    monkeypatch.setattr(opened._manager, "restore", None)  # reads arrays
    with pytest.raises(ValueError) as told:
      opened.restore(_other(states.abstract(states.state(0))))
  assert "checkpoint of step 1 holds another state" in str(told.value)
  assert [line.strip() for line in str(told.value).split("\n")[1:-1]] == [
    "missing in the checkpoint: opt_state/mu [64, 32] float32",
    "only in the checkpoint: opt_state/kernel [64, 32] float32",
    "ema/bias: the checkpoint has [32] float32, the config [32] bfloat16",
    "params/kernel: the checkpoint has [64, 32] float32, the config"
    " [128, 32] float32",
  ]


def test_weights_to_begin_with_are_compared_too(tmp_path: pathlib.Path):
  states.save(tmp_path, 1)
  like = states.abstract(states.state(0))
  checkpoint.check_start(tmp_path, states.config(), like)
  # Optimizer and dtype may be others, shapes may not.
  other = _other(like)
  with pytest.raises(ValueError) as told:
    checkpoint.check_start(tmp_path, states.config(), other)
  assert "init_from" in str(told.value)
  (line,) = str(told.value).split("\n")[1:-1]
  assert line.strip() == (
    "params/kernel: the checkpoint has [64, 32], the config [128, 32]"
  )


@pytest.mark.parametrize(
  ("optimizer", "lines"),
  [
    (optax.adamw(1e-3), []),
    (optax.lion(1e-3), ["only in the checkpoint: 0/nu/w [3] float32"]),
    (
      optax.chain(optax.clip(1.0), optax.adamw(1e-3)),
      [
        "missing in the checkpoint: 1/0/count [] int32",
        "missing in the checkpoint: 1/0/mu/w [3] float32",
        "missing in the checkpoint: 1/0/nu/w [3] float32",
        "only in the checkpoint: 0/count [] int32",
        "only in the checkpoint: 0/mu/w [3] float32",
        "only in the checkpoint: 0/nu/w [3] float32",
      ],
    ),
  ],
)
def test_optimizers_are_told_apart(
  optimizer: optax.GradientTransformation,
  lines: list[str],
  tmp_path: pathlib.Path,
):
  params = {"w": jnp.zeros((3,))}
  abstract = jax.eval_shape(optax.adamw(1e-3).init, params)
  host = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), abstract)
  checkpoint.write_weights(tmp_path, states.config(), {"opt": host}, {})
  found = trees.saved(tmp_path / checkpoint.FOLDER / "step_00000000")
  wanted = jax.eval_shape(optimizer.init, params)
  got = trees.differences(wanted, found["params"]["opt"], dtypes=True)
  assert got == lines
