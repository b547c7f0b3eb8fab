"""A made-up batch, and made-up frozen inputs, for any config."""

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.diffusion import masked
from unialign_jax.models import t5
from unialign_jax.training import program as program_lib
from unialign_jax.training import state as state_lib

_EOS = 1
_FEATURE_SCALE = 0.2  # about what T5-XXL's features have
_POSTERIOR_STD = 0.05


def make(config: config_lib.Config, num_cond: int) -> dict[str, np.ndarray]:
  """A global batch as the pipeline gives it; the same every time.

  Args:
    config: of the run.
    num_cond: condition images of a record.
  """
  rng = np.random.default_rng(0)
  size, length = config.data.batch_size, config.data.text_length
  expected = config.expectations()
  latents, width = config.latent_shape, config.model.text_dim
  tokens = (expected.semantic_tokens,) if expected.semantic_tokens else ()

  def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal((size, *shape), np.float32)

  def features() -> np.ndarray:
    return (_FEATURE_SCALE * normal(length, width)).astype(jnp.bfloat16)

  batch = {
    "latents_mean": normal(*latents).astype(np.float16),
    "latents_std": np.full((size, *latents), _POSTERIOR_STD, np.float16),
    "prompt_ids": _texts(rng, config),
    "caption_ids": _texts(rng, config),
    "label_mask": np.ones((size, length), bool),
    "h_image": normal(*tokens, config.model.semantic_dim).astype(np.float16),
    "h_text": normal(config.model.semantic_dim).astype(np.float16),
  }
  if num_cond:
    batch["cond_latents"] = normal(num_cond, *latents).astype(np.float16)
  if config.train.spike_window:
    batch["source_id"] = np.zeros(size, np.int32)
  if config.data.text_features == "stored":
    batch |= _masked(rng, config, batch)
    batch |= {"prompt_features": features(), "masked_features": features()}
  return batch


def to_devices(
  batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh
) -> dict[str, jax.Array]:
  """As `training.setup.Run.to_devices` spreads it."""
  spread = jax.NamedSharding(mesh, sharding.BATCH)
  return {name: jax.device_put(value, spread) for name, value in batch.items()}


def frozen(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  text_model: t5.T5Encoder | None,
) -> state_lib.Frozen:
  """Random features of the empty prompt and, in the step, a random T5."""
  abstract = program_lib.abstract_frozen(config, mesh, text_model)
  null = abstract.null_text_LE
  noise = np.random.default_rng(1).standard_normal(null.shape, np.float32)
  params = None
  if text_model is not None:
    ids_BL = jnp.zeros((1, config.data.text_length), jnp.int32)
    place = jax.tree.map(lambda x: x.sharding, abstract.text_encoder)
    params = jax.jit(
      lambda key: text_model.init(key, ids_BL)["params"], out_shardings=place
    )(jax.random.key(0))
  return state_lib.Frozen(
    null_text_LE=jax.device_put(
      (_FEATURE_SCALE * noise).astype(null.dtype), null.sharding
    ),
    text_encoder=params,
  )


def _texts(rng: np.random.Generator, config: config_lib.Config) -> np.ndarray:
  """Token ids [B, L]: texts of half the length or more, then EOS."""
  size, length = config.data.batch_size, config.data.text_length
  ids = rng.integers(_EOS + 1, config.model.vocab_size, (size, length))
  ids[ids == config.data.mask_id] = _EOS + 1  # no text has it
  ends = rng.integers(length // 2, length, size)
  padding = np.arange(length) >= ends[:, None]
  return np.where(padding, _EOS, ids).astype(np.int32)


def _masked(
  rng: np.random.Generator,
  config: config_lib.Config,
  batch: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """A masked draw of each caption, with times spread evenly over the batch."""
  size = config.data.batch_size
  t_min = config.diffusion.text_t_min
  u = (rng.random() + np.arange(size) / size) % 1.0
  t = (t_min + (1.0 - t_min) * u).astype(np.float32)
  is_masked = rng.random(batch["caption_ids"].shape) < (
    masked.MASK_RATE * t[:, None]
  )
  is_masked &= batch["label_mask"]
  mask_id = np.int32(config.data.mask_id)
  return {
    "masked_t": t,
    "is_masked": is_masked,
    "masked_ids": np.where(is_masked, mask_id, batch["caption_ids"]),
  }
