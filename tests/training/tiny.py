"""A network, a batch and an objective small enough to compile in seconds."""

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unialign_jax import losses
from unialign_jax.models import mmdit
from unialign_jax.training import objective as objective_lib
from unialign_jax.training import optimizer as optimizer_lib
from unialign_jax.training import spikes
from unialign_jax.training import state as state_lib

LATENT_SHAPE = (4, 4, 8)
TEXT_LENGTH = 6
MASK_ID = 19


# Compiles in half the time; nothing here runs long enough to miss the rest.
jit = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def model_config(**changes: Any) -> mmdit.MMDiTConfig:
  shape = {
    "in_channels": 8,
    "width": 32,
    "depth": 2,
    "num_heads": 2,
    "text_dim": 16,
    "vocab_size": 20,
    "pos_embed_size": 4,
    "pos_embed_base": 4,
    "align_depth": 1,
    "align_hidden": 16,
    "semantic_dim": 16,
  }
  return mmdit.MMDiTConfig(**(shape | changes))


def batch(
  size: int, *, num_cond: int = 0, stored: bool = True, by_patch: bool = False
) -> dict:
  """A random batch as the pipeline makes it, deterministic."""
  rng = np.random.default_rng(0)
  B, L = size, TEXT_LENGTH

  def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float16)

  fields = {
    "latents_mean": normal(B, *LATENT_SHAPE),
    "latents_std": np.abs(normal(B, *LATENT_SHAPE)) * np.float16(0.1),
    "prompt_ids": rng.integers(0, MASK_ID, (B, L), np.int32),
    "caption_ids": rng.integers(0, MASK_ID, (B, L), np.int32),
    "label_mask": rng.random((B, L)) < 0.9,
    "h_image": normal(B, 16),
    "h_text": normal(B, 16),
  }
  if num_cond:
    # A generator of its own: the other fields are the same with and without.
    own = np.random.default_rng(2)
    shape = (B, num_cond, *LATENT_SHAPE)
    fields["cond_latents"] = own.normal(size=shape).astype(np.float16)
  if by_patch:
    own = np.random.default_rng(3)
    fields["h_image"] = own.normal(size=(B, 4, 16)).astype(np.float16)
  if stored:
    is_masked = fields["label_mask"] & (rng.random((B, L)) < 0.5)
    fields |= {
      "prompt_features": normal(B, L, 16),
      "masked_features": normal(B, L, 16),
      "is_masked": is_masked,
      "masked_ids": np.where(is_masked, MASK_ID, fields["caption_ids"]).astype(
        np.int32
      ),
      "masked_t": rng.uniform(0.1, 1.0, B).astype(np.float32),
    }
  return fields


def objective(
  model: mmdit.MMDiT, *, accumulation: int = 1, **loss: Any
) -> objective_lib.Objective:
  return objective_lib.Objective(
    model_apply=model.apply,
    text_apply=lambda params, ids: params[ids],
    config=losses.LossConfig(**loss),
    mask_id=MASK_ID,
    accumulation=accumulation,
  )


def params(model: mmdit.MMDiT) -> Any:
  """Random parameters in which nothing is zero, so that every path is open.

  A fresh network's blocks are the identity, which hides most mistakes. Made by
  numpy from the name of each parameter: adding one moves no other.
  """
  abstract = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jnp.zeros((1, *LATENT_SHAPE), jnp.float32),
    jnp.zeros((1, TEXT_LENGTH, model.config.text_dim), jnp.float32),
    jnp.zeros((1,), jnp.float32),
  )["params"]

  def fill(name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return jnp.asarray(0.15 * rng.normal(size=leaf.shape), leaf.dtype)

  return jax.tree.map(fill, optimizer_lib.names(abstract), abstract)


def frozen() -> state_lib.Frozen:
  """The features of " ", and a table of features as the text encoder."""
  rng = np.random.default_rng(1)
  return state_lib.Frozen(
    null_text_LE=jnp.asarray(rng.normal(size=(TEXT_LENGTH, 16)), jnp.float32),
    text_encoder=jnp.asarray(rng.normal(size=(20, 16)), jnp.float16),
  )


def state(
  model: mmdit.MMDiT, optimizer: optax.GradientTransformation
) -> state_lib.TrainState:
  """A state at step 0 whose average is not where its parameters are."""
  start = params(model)
  return state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=start,
    ema=jax.tree.map(
      lambda p: jnp.asarray(np.float32(0.5) * p), jax.device_get(start)
    ),
    opt_state=jit(optimizer.init)(start),
    skipped=jnp.zeros((), jnp.int32),
    spikes=spikes.fresh(),
    frozen=frozen(),
  )


def adam_state(opt_state: Any) -> optax.ScaleByAdamState:
  """The moments of the trained parameters, wherever optax keeps them."""

  def is_adam(x: Any) -> bool:
    return isinstance(x, optax.ScaleByAdamState)

  found = filter(is_adam, jax.tree.leaves(opt_state, is_leaf=is_adam))
  (adam,) = found
  return adam


def norm(tree: Any) -> float:
  """Length of all leaves together, by numpy: nothing to compile."""
  leaves = jax.tree.leaves(jax.device_get(tree))
  return float(np.sqrt(sum(np.square(np.float64(x)).sum() for x in leaves)))


def assert_close(got: Any, want: Any, tolerance: float) -> None:
  """Every leaf agrees, relative to its largest element.

  A leaf may be zero but for rounding (the bias of the keys shifts all scores
  alike), so no leaf is held to less than 1e-2 of the largest of the tree.
  """
  got, want = jax.device_get((got, want))
  assert jax.tree.structure(got) == jax.tree.structure(want)
  floor = 1e-2 * max(np.abs(w).max() for w in jax.tree.leaves(want))

  def check(path: Any, g: np.ndarray, w: np.ndarray) -> None:
    atol = tolerance * max(np.abs(w).max(), floor)
    np.testing.assert_allclose(
      g, w, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path)
    )

  jax.tree_util.tree_map_with_path(check, got, want)


def assert_same(got: Any, want: Any) -> None:
  """Every leaf agrees to the last bit."""
  got, want = jax.device_get((got, want))
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, got, want)
