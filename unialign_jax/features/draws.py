"""Masked draws of captions, made once and stored with the text features.

M draws of one caption have antithetic times (spread evenly over [0, 1) from
one random offset), so a record visited M times has seen every stretch of the
schedule. A draw depends on the seed and the number of the sample alone, never
on batches, shards or workers.
"""

import functools

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import masked


@functools.partial(jax.jit, static_argnames=("draws", "mask_id"))
def masked_draws(
  key: jax.Array,
  index_B: jax.Array,
  caption_ids_BL: jax.Array,
  label_mask_BL: jax.Array,
  *,
  draws: int,
  mask_id: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws t and masked ids for each caption.

  Args:
    key: Of the feature set.
    index_B: Numbers of the samples, `[B]` int32.
    caption_ids_BL: `[B, L]` int32.
    label_mask_BL: `[B, L]` bool, where a token may be masked.
    draws: M, at least 1.
    mask_id: Id of the mask token.

  Returns:
    masked ids `[B, M, L]` int32, is_masked `[B, M, L]` bool, t `[B, M]` f32.
  """

  def one_caption(
    index: jax.Array, ids_L: jax.Array, label_mask_L: jax.Array
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    key_t, key_mask = jax.random.split(jax.random.fold_in(key, index))
    t_M = masked.sample_t(key_t, draws, antithetic=True)
    shape = (draws, *ids_L.shape)
    masked_ids_ML, is_masked_ML = masked.corrupt(
      key_mask,
      jnp.broadcast_to(ids_L[None], shape),
      t_M,
      jnp.broadcast_to(label_mask_L[None], shape),
      mask_id=mask_id,
    )
    return masked_ids_ML, is_masked_ML, t_M

  return jax.vmap(one_caption)(index_B, caption_ids_BL, label_mask_BL)
