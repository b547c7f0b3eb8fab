"""What a run carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from unialign_jax.models import mmdit
from unialign_jax.training import rng
from unialign_jax.training import spikes as spikes_lib


@flax.struct.dataclass
class Frozen:
  """Inputs of every step that are never trained, and never checkpointed."""

  null_text_LE: jax.Array  # T5 features of " ", what a dropped prompt becomes
  text_encoder: Any = None  # T5 parameters; None with stored features


@flax.struct.dataclass
class TrainState:
  """One pytree: `train_step(state, batch) -> (state, metrics)`."""

  step: jax.Array  # int32 [], steps taken, skipped ones included
  params: Any
  ema: Any  # fp32 moving average of params
  opt_state: Any
  skipped: jax.Array  # int32 [], steps whose update was dropped as non-finite
  spikes: spikes_lib.Spikes  # recent losses, and updates dropped as spikes
  frozen: Frozen | None = None

  def durable(self) -> "TrainState":
    """The part that a checkpoint holds."""
    return self.replace(frozen=None)


def create(
  model: mmdit.MMDiT,
  optimizer: optax.GradientTransformation,
  seed: int,
  *,
  latent_shape: tuple[int, int, int],
  text_length: int,
) -> TrainState:
  """A fresh state without the frozen inputs; traceable, so it shards.

  Args:
    model: the network.
    optimizer: from `training.optimizer`.
    seed: `config.seed`.
    latent_shape: (H, W, C) of one picture.
    text_length: L.
  """
  params = model.init(
    rng.stream(seed, "init", 0),
    jnp.zeros((1, *latent_shape), jnp.float32),
    jnp.zeros((1, text_length, model.config.text_dim), jnp.float32),
    jnp.zeros((1,), jnp.float32),
  )["params"]
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    # A copy: a donated state may not hold the same buffer twice.
    ema=jax.tree.map(lambda p: p.astype(jnp.float32) + 0.0, params),
    opt_state=optimizer.init(params),
    skipped=jnp.zeros((), jnp.int32),
    spikes=spikes_lib.fresh(),
  )
