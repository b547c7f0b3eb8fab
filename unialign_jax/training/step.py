"""One training step: draw, four losses, gradient, update. Read this first.

drawn         = posterior sample, noise, times, masks   (objective.draw)
grads         = d/dparams of flow + text + cross + intrinsic
params        = AdamW(clip(grads)), unless something is not finite, or a spike
ema           = decay ema + (1 - decay) params
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unialign_jax.training import objective as objective_lib
from unialign_jax.training import optimizer as optimizer_lib
from unialign_jax.training import spikes as spikes_lib
from unialign_jax.training import state as state_lib

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [state_lib.TrainState, objective_lib.Batch],
  tuple[state_lib.TrainState, Metrics],
]


def make_train_step(
  objective: objective_lib.Objective,
  optimizer: optax.GradientTransformation,
  optimizer_config: optimizer_lib.OptimizerConfig,
  diffusion_config: objective_lib.DiffusionConfig,
  *,
  seed: int,
  total_steps: int,
  spike_rule: spikes_lib.Rule | None = None,
) -> TrainStep:
  """Builds the pure `train_step(state, batch) -> (state, metrics)`.

  The caller jits it, with shardings and the state donated.

  Args:
    objective: the losses of a batch.
    optimizer: from `optimizer.make`.
    optimizer_config: EMA decay, frozen names and the reported learning rate.
    diffusion_config: how times, masks and dropout are drawn.
    seed: `config.seed`.
    total_steps: `config.train.steps`, where a cosine schedule ends.
    spike_rule: which losses are spikes, where any are; batches then have
      `source_id`, [B] i32, the same everywhere.
  """
  schedule = optimizer_lib.learning_rate(optimizer_config, total_steps)

  def train_step(
    state: state_lib.TrainState, batch: objective_lib.Batch
  ) -> tuple[state_lib.TrainState, Metrics]:
    drawn = objective_lib.draw(
      batch,
      diffusion_config,
      seed=seed,
      step=state.step,
      mask_id=objective.mask_id,
    )
    grads, metrics = objective.gradient(
      optimizer_lib.working_copy(state.params, optimizer_config),
      state.frozen,
      drawn,
    )
    grads = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
    grads = _zero_frozen(grads, optimizer_config.trainable)
    grad_norm = optax.tree.norm(grads)
    is_finite = jnp.isfinite(metrics["loss/total"]) & jnp.isfinite(grad_norm)
    is_good, spikes = is_finite, state.spikes
    if spike_rule is not None:
      is_spike, limit, spikes = spike_rule.judge(
        spikes,
        batch["source_id"][0],
        jnp.where(is_finite, metrics["loss/total"], jnp.nan),
      )
      is_good &= ~is_spike
      metrics = metrics | {"spike_limit": limit}

    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = _average(state.ema, params, optimizer_config.ema_decay)

    def keep(new: Any, old: Any) -> Any:
      return jax.tree.map(lambda n, o: jnp.where(is_good, n, o), new, old)

    new_state = state.replace(
      step=state.step + 1,
      params=keep(params, state.params),
      ema=keep(ema, state.ema),
      opt_state=keep(opt_state, state.opt_state),
      skipped=state.skipped + (1 - is_finite.astype(jnp.int32)),
      spikes=spikes,
    )
    return new_state, metrics | {
      "grad_norm": grad_norm,
      "learning_rate": schedule(
        state.step - state.skipped - state.spikes.count
      ),
      "skipped": new_state.skipped,
      "spikes": spikes.count,
    }

  return train_step


def _zero_frozen(grads: Any, trainable: tuple[str, ...]) -> Any:
  """Zero for what is not trained; XLA then drops the work it would have been.

  So the reported norm is that of the trained parameters, as the clip's is.
  """
  mask = optimizer_lib.trainable_mask(grads, trainable)
  return jax.tree.map(lambda g, m: g if m else jnp.zeros_like(g), grads, mask)


def _average(ema: Any, params: Any, decay: float) -> Any:
  return jax.tree.map(
    lambda e, p: decay * e + (1.0 - decay) * p.astype(jnp.float32), ema, params
  )
