"""The train step of a config on a mesh: for the devices here, or elsewhere.

A mesh of real devices gives what a run turns over; a mesh of a topology that
is not here (`plan.py`) gives the same program, to be compiled and not run.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.features import placement
from unialign_jax.models import mmdit
from unialign_jax.models import t5
from unialign_jax.training import objective as objective_lib
from unialign_jax.training import optimizer as optimizer_lib
from unialign_jax.training import spikes
from unialign_jax.training import state as state_lib
from unialign_jax.training import step as step_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """A jitted, sharded train step.

  Attributes:
    mesh: whose devices it is for.
    model: the network.
    shardings: of the state, frozen inputs left out.
    abstract_state: shapes with those shardings.
    init: makes the state on the devices.
    jitted_step: `train_step` for a caller who has set the mesh.
  """

  mesh: jax.sharding.Mesh
  model: mmdit.MMDiT
  shardings: state_lib.TrainState
  abstract_state: state_lib.TrainState
  init: Callable[[], state_lib.TrainState]
  jitted_step: Callable[..., Any]

  def train_step(
    self, state: state_lib.TrainState, batch: objective_lib.Batch
  ) -> tuple[state_lib.TrainState, step_lib.Metrics]:
    """One step; the state is donated."""
    # What cannot be partitioned by the compiler asks which mesh it is on.
    with jax.set_mesh(self.mesh):
      return self.jitted_step(state, batch)

  def trace(
    self, frozen: state_lib.Frozen, batch: objective_lib.Batch
  ) -> jax.stages.Traced:
    """The step, not yet lowered for its mesh; arguments may be abstract."""
    state = self.abstract_state.replace(frozen=frozen)
    with jax.set_mesh(self.mesh):
      return self.jitted_step.trace(state, batch)


def build(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  *,
  text_model: t5.T5Encoder | None,
  frozen: state_lib.Frozen,
) -> Program:
  """Checks mesh, batch and sharding table, and jits; nothing compiles.

  Args:
    config: of the run.
    mesh: from `sharding.make_mesh`.
    text_model: T5, where text features are computed in the step.
    frozen: arrays, or abstract ones with shardings.

  Raises:
    ValueError: a batch or a parameter that the mesh does not divide.
  """
  accumulation = config.train.accumulation
  sharding.check_batch(mesh, config.data.batch_size, accumulation)
  model = mmdit.MMDiT(config.model)
  optimizer = optimizer_lib.make(config.optimizer, config.train.steps)

  def create() -> state_lib.TrainState:
    return state_lib.create(
      model,
      optimizer,
      config.seed,
      latent_shape=config.latent_shape,
      text_length=config.data.text_length,
    )

  abstract = jax.eval_shape(create)
  shardings = sharding.state_shardings(abstract, mesh)
  whole = shardings.replace(frozen=jax.tree.map(lambda x: x.sharding, frozen))
  train_step = step_lib.make_train_step(
    objective_lib.Objective(
      model_apply=model.apply,
      text_apply=_text_apply(text_model, mesh),
      config=config.loss,
      mask_id=config.data.mask_id,
      accumulation=accumulation,
      text_t_min=config.diffusion.text_t_min,
    ),
    optimizer,
    config.optimizer,
    config.diffusion,
    seed=config.seed,
    total_steps=config.train.steps,
    spike_rule=_spike_rule(config),
  )
  return Program(
    mesh=mesh,
    model=model,
    shardings=shardings,
    abstract_state=jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      abstract,
      shardings,
    ),
    init=jax.jit(create, out_shardings=shardings),
    jitted_step=jax.jit(
      train_step,
      # The state keeps its place, metrics are scalars on every device.
      out_shardings=(whole, jax.NamedSharding(mesh, jax.P())),
      donate_argnums=0,
      compiler_options=dict(config.train.compiler_options) or None,
    ),
  )


def abstract_frozen(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  text_model: t5.T5Encoder | None,
) -> state_lib.Frozen:
  """Frozen inputs of a run whose encoder is not at hand."""
  dtype = jnp.dtype(config.model.dtype)
  length, width = config.data.text_length, config.model.text_dim
  params = None
  if text_model is not None:
    ids_BL = jax.ShapeDtypeStruct((1, length), jnp.int32)
    shapes = jax.eval_shape(text_model.init, jax.random.key(0), ids_BL)
    params = jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      shapes["params"],
      placement.t5_shardings(shapes["params"], mesh, "fsdp"),
    )
  return state_lib.Frozen(
    null_text_LE=jax.ShapeDtypeStruct(
      (length, width), dtype, sharding=jax.NamedSharding(mesh, jax.P())
    ),
    text_encoder=params,
  )


def abstract_batch(
  config: config_lib.Config, mesh: jax.sharding.Mesh, num_cond: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a global batch with `num_cond` condition images a record.

  As `data.feature_set` makes it and `setup.Run.to_devices` spreads it.
  """
  expected = config.expectations()
  length, width = config.data.text_length, config.model.text_dim
  tokens = (expected.semantic_tokens,) if expected.semantic_tokens else ()
  latents = config.latent_shape
  fields = {
    "latents_mean": (latents, jnp.float16),
    "latents_std": (latents, jnp.float16),
    "prompt_ids": ((length,), jnp.int32),
    "caption_ids": ((length,), jnp.int32),
    "label_mask": ((length,), jnp.bool_),
    "h_image": ((*tokens, config.model.semantic_dim), jnp.float16),
    "h_text": ((config.model.semantic_dim,), jnp.float16),
  }
  if num_cond:
    fields["cond_latents"] = ((num_cond, *latents), jnp.float16)
  if config.train.spike_window:
    fields["source_id"] = ((), jnp.int32)
  if config.data.text_features == "stored":
    fields |= {
      "prompt_features": ((length, width), jnp.bfloat16),
      "masked_ids": ((length,), jnp.int32),
      "is_masked": ((length,), jnp.bool_),
      "masked_t": ((), jnp.float32),
      "masked_features": ((length, width), jnp.bfloat16),
    }
  spread = jax.NamedSharding(mesh, sharding.BATCH)
  size = config.data.batch_size
  return {
    name: jax.ShapeDtypeStruct((size, *shape), dtype, sharding=spread)
    for name, (shape, dtype) in fields.items()
  }


def _spike_rule(config: config_lib.Config) -> spikes.Rule | None:
  if not config.train.spike_window:
    return None
  return spikes.Rule(
    window=config.train.spike_window,
    factor=config.train.spike_factor,
    sources=[name for name, _ in config.data.sources],
  )


def _text_apply(
  text_model: t5.T5Encoder | None, mesh: jax.sharding.Mesh
) -> objective_lib.TextApply | None:
  if text_model is None:
    return None

  def apply(params: Any, ids_BL: jax.Array) -> jax.Array:
    return text_model.apply({"params": params}, ids_BL)

  return placement.keep_apart(apply, jax.NamedSharding(mesh, sharding.BATCH))
