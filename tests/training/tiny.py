"""A network, a batch and an objective small enough to compile in seconds."""

from typing import Any

import numpy as np

from unialign_jax import losses
from unialign_jax.models import mmdit
from unialign_jax.training import objective as objective_lib

LATENT_SHAPE = (4, 4, 8)
TEXT_LENGTH = 6
MASK_ID = 19


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
    "semantic_dim": 12,
  }
  return mmdit.MMDiTConfig(**(shape | changes))


def batch(size: int, *, num_cond: int = 0, stored: bool = True) -> dict:
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
    "h_image": normal(B, 12),
    "h_text": normal(B, 12),
  }
  if num_cond:
    fields["cond_latents"] = normal(B, num_cond, *LATENT_SHAPE)
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
