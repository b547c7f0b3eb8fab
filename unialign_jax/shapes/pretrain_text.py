"""Trains the small T5 encoder of the Shapes world by filling in masked words.

Each text has its own share of masked tokens, uniform in [0, 1) and for some
texts exactly 0, so features of clean and of masked text are both in
distribution, as the two passes of the objective need. Masked tokens are the
task; unmasked ones are predicted too, with a small weight, so that features
keep saying which word stands where. The linear head is thrown away.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unialign_jax.models import t5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How the encoder is trained, and its shape."""

  d_model: int = 96
  d_ff: int = 192
  num_layers: int = 3
  num_heads: int = 4
  # One for every distance below 32: the only positions there are.
  num_buckets: int = 128
  batch_size: int = 64
  steps: int = 3000
  learning_rate: float = 2e-3
  clean_share: float = 0.1  # of texts without any mask
  kept_weight: float = 0.1  # loss weight of tokens that are not masked

  def config(self, vocab_size: int) -> t5.T5Config:
    """A T5 v1.1 encoder for a tokenizer of `vocab_size` tokens."""
    return t5.T5Config(
      vocab_size=vocab_size,
      d_model=self.d_model,
      d_kv=self.d_model // self.num_heads,
      d_ff=self.d_ff,
      num_layers=self.num_layers,
      num_heads=self.num_heads,
      feed_forward_proj="gated-gelu",
      relative_attention_num_buckets=self.num_buckets,
    )


def schedule(learning_rate: float, steps: int) -> optax.Schedule:
  """Linear warm-up over the first 5 %, then a cosine to zero."""
  return optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, max(1, steps // 20), steps
  )


def mask(
  key: jax.Array, ids_BL: jax.Array, mask_id: int, clean_share: float
) -> tuple[jax.Array, jax.Array]:
  """Masked ids and `is_masked`, with one share of masked tokens a text.

  The last token, always EOS, stays: what every position is counted from.
  """
  key_ratio, key_clean, key_token = jax.random.split(key, 3)
  batch = ids_BL.shape[:1]
  is_clean_B = jax.random.uniform(key_clean, batch) >= 1.0 - clean_share
  ratio_B = jnp.where(is_clean_B, 0.0, jax.random.uniform(key_ratio, batch))
  is_masked_BL = jax.random.uniform(key_token, ids_BL.shape) < ratio_B[:, None]
  is_masked_BL = is_masked_BL.at[:, -1].set(False)
  return jnp.where(is_masked_BL, mask_id, ids_BL), is_masked_BL


def _loss(
  params: Any,
  model: t5.T5Encoder,
  ids_BL: jax.Array,
  masked_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  kept_weight: float,
) -> tuple[jax.Array, jax.Array]:
  """Weighted cross-entropy, and accuracy on the masked tokens."""
  features_BLE = model.apply({"params": params["encoder"]}, masked_ids_BL)
  logits_BLV = features_BLE @ params["head"]
  nll_BL = optax.softmax_cross_entropy_with_integer_labels(logits_BLV, ids_BL)
  weight_BL = jnp.where(is_masked_BL, 1.0, kept_weight)
  hit_BL = (logits_BLV.argmax(-1) == ids_BL) & is_masked_BL
  accuracy = hit_BL.sum() / jnp.maximum(is_masked_BL.sum(), 1)
  return (nll_BL * weight_BL).sum() / weight_BL.sum(), accuracy


def train(
  ids_NL: np.ndarray,
  test_ids_NL: np.ndarray,
  *,
  vocab_size: int,
  mask_id: int,
  recipe: Recipe,
  seed: int,
  log: Callable[[str], None],
) -> tuple[Any, float]:
  """Trains on token ids.

  Args:
    ids_NL: texts to learn from, padded with EOS.
    test_ids_NL: texts for the final accuracy.
    vocab_size: tokens the tokenizer knows.
    mask_id: the mask token.
    recipe: sizes and schedule.
    seed: of weights, batches and masks.
    log: receives a line of progress now and then.

  Returns:
    Parameters of the encoder, and the accuracy on masked test tokens.
  """
  model = t5.T5Encoder(recipe.config(vocab_size))
  key_init, key_head, key_masks, key_test = jax.random.split(
    jax.random.key(seed), 4
  )
  head = jax.random.normal(key_head, (recipe.d_model, vocab_size))
  params = {
    "encoder": jax.jit(model.init)(key_init, ids_NL[:1])["params"],
    "head": head * recipe.d_model**-0.5,
  }
  optimiser = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(schedule(recipe.learning_rate, recipe.steps), b2=0.98),
  )
  opt_state = optimiser.init(params)
  loss = functools.partial(_loss, model=model, kept_weight=recipe.kept_weight)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params: Any, opt_state: Any, ids_BL: jax.Array, key: jax.Array):
    masked, is_masked = mask(key, ids_BL, mask_id, recipe.clean_share)
    (value, accuracy), grads = jax.value_and_grad(loss, has_aux=True)(
      params, ids_BL=ids_BL, masked_ids_BL=masked, is_masked_BL=is_masked
    )
    updates, opt_state = optimiser.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value, accuracy

  rng = np.random.default_rng(seed)
  for i in range(recipe.steps):
    rows = rng.integers(len(ids_NL), size=recipe.batch_size)
    params, opt_state, value, accuracy = step(
      params, opt_state, ids_NL[rows], jax.random.fold_in(key_masks, i)
    )
    if i % 250 == 0 or i == recipe.steps - 1:
      log(f"text {i}: loss {value:.3f}, masked accuracy {accuracy:.3f}")

  masked, is_masked = mask(key_test, test_ids_NL, mask_id, 0.0)
  _, accuracy = jax.jit(loss)(
    params, ids_BL=test_ids_NL, masked_ids_BL=masked, is_masked_BL=is_masked
  )
  return jax.device_get(params["encoder"]), float(accuracy)
