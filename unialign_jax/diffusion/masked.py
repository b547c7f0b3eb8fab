"""Masked diffusion over text tokens: the discrete of the two diffusions.

Time runs from t = 0 (clean) to t = 1 (all masked). With a = 1 - 1e-3:

    q(x_t^i = MASK | x^i) = a t, each position alone                   (1)
    p_theta(x^i = MASK) = 0;  x^i = x_t^i where not masked             (2)  SUBS
    L   = -(1/L) sum_{i masked} log p_theta(x^i | x_t) / t  (3)  paper's Eq. 2
    q(x_s^i revealed | x_t^i = MASK) = (t - s) / t,  s < t             (4)

(3) is the negative evidence bound in continuous time: for the linear schedule
(1) its weight, -alpha' / (1 - alpha) with alpha = 1 - a t, is exactly 1 / t
whatever a is. Log-linear schedule, SUBS (2) and the cached sampler are those
of MDLM (arXiv 2406.07524), as Dual Diffusion and the UniAlignment authors use
them. The network sees no t for the text. The
flow of `flow.py` has the same four verbs: `sample_t`, `corrupt`, `loss`,
`step`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import times
from unialign_jax.diffusion import vocabulary

T_MIN = 1e-3
MASK_RATE = 1.0 - 1e-3


class Proposal(NamedTuple):
  """A guess of the clean text under SUBS."""

  token_ids_BL: jax.Array  # int32; the given token where nothing is masked
  log_prob_BL: jax.Array  # fp32, of that token; 0 where nothing is masked


def sample_t(
  key: jax.Array,
  batch: int,
  *,
  t_min: float = T_MIN,
  antithetic: bool = True,
) -> jax.Array:
  """Training times, [B] fp32, uniform in [t_min, 1).

  Args:
    key: used once.
    batch: B, the global batch.
    t_min: lower end, which bounds the weight 1 / t.
    antithetic: one time per stratum of width 1 / B (`times.uniform`).
  """
  u_B = times.uniform(key, batch, antithetic=antithetic)
  return t_min + (1.0 - t_min) * u_B


def corrupt(
  key: jax.Array,
  token_ids_BL: jax.Array,
  t_B: jax.Array,
  label_mask_BL: jax.Array,
  *,
  mask_id: int,
) -> tuple[jax.Array, jax.Array]:
  """Masks each position with probability `MASK_RATE` t, Eq. 1.

  Args:
    key: used once.
    token_ids_BL: the clean text, int32; padding is masked like any token.
    t_B: diffusion times.
    label_mask_BL: bool or 0 / 1; where 0 (a question) the token always stays.
    mask_id: token that stands for MASK.

  Returns:
    masked_ids_BL int32, and is_masked_BL bool, True where MASK was put.
  """
  draw_BL = jax.random.uniform(key, token_ids_BL.shape, jnp.float32)
  is_masked_BL = draw_BL < MASK_RATE * t_B[:, None]
  is_masked_BL &= label_mask_BL.astype(bool)
  mask = jnp.asarray(mask_id, token_ids_BL.dtype)
  return jnp.where(is_masked_BL, mask, token_ids_BL), is_masked_BL


def loss(
  logits_BLV: jax.Array,
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  t_B: jax.Array,
  *,
  mask_id: int,
  t_min: float = T_MIN,
) -> jax.Array:
  """Eq. 3, [B] fp32: the sum over masked positions, divided by L.

  L is the length of the sequence with question and padding, not the number
  of masked or labelled positions, so the mean over the batch is the sum over
  all tokens divided by B x L. Positions that are not masked contribute
  exactly nothing, to the value and to the gradient.

  Args:
    logits_BLV: the prediction from the masked text, any float dtype.
    token_ids_BL: the clean text.
    is_masked_BL: as `corrupt` returned it, label mask included.
    t_B: diffusion times; the weight is 1 / max(t, t_min).
    mask_id: token whose probability is zero, Eq. 2.
    t_min: that of `sample_t`, above 0.

  Raises:
    ValueError: if mask_id is outside the vocabulary of the logits.
  """
  log_prob_BL = token_log_prob(logits_BLV, token_ids_BL, mask_id)
  return weighted(log_prob_BL, is_masked_BL, t_B, t_min=t_min)


def weighted(
  log_prob_BL: jax.Array,
  is_masked_BL: jax.Array,
  t_B: jax.Array,
  *,
  t_min: float = T_MIN,
) -> jax.Array:
  """Eq. 3 from the log probabilities of the clean tokens, as `loss`."""
  nll_BL = jnp.where(is_masked_BL, -log_prob_BL, 0.0)
  weight_B = 1.0 / jnp.maximum(t_B, t_min)
  return weight_B * jnp.sum(nll_BL, axis=-1) / nll_BL.shape[-1]


@functools.partial(jax.checkpoint, static_argnums=(2,))
def token_log_prob(
  logits_BLV: jax.Array, token_ids_BL: jax.Array, mask_id: int
) -> jax.Array:
  """log p of the given tokens with MASK excluded (Eq. 2), [B, L] fp32.

  At 32100 tokens the logits are the largest tensor of the step. Each use of
  the vocabulary here is a fused elementwise-and-reduce, the token is picked
  by comparison instead of a gather (whose gradient is a scatter into another
  [B, L, V]), and the checkpoint recomputes the softmax in the backward pass,
  so no fp32 copy of the logits outlives the call.
  """
  allowed_BLV = _without_mask_token(logits_BLV, mask_id)
  is_token_BLV = _vocabulary(logits_BLV) == token_ids_BL[..., None]
  picked_BL = jnp.sum(jnp.where(is_token_BLV, allowed_BLV, 0.0), axis=-1)
  return picked_BL - jax.nn.logsumexp(allowed_BLV, axis=-1)


def propose(
  keys_B: jax.Array,
  logits_BLV: jax.Array,
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  *,
  mask_id: int,
  temperature: float,
) -> Proposal:
  """Draws the clean text from p_theta under SUBS, Eq. 2.

  Args:
    keys_B: one a text, each used once; ignored at temperature 0.
    logits_BLV: the prediction from the masked text.
    token_ids_BL: the text so far.
    is_masked_BL: True where a token is to be guessed; others carry over.
    mask_id: the token that is never proposed.
    temperature: divides the logits; 0 takes the likeliest token. The log
      probabilities are always those of temperature 1.

  Raises:
    ValueError: for a negative temperature, or a mask_id that is no token.
  """
  if temperature < 0:
    raise ValueError(f"temperature: got {temperature}, expected >= 0.")
  allowed_BLV = _without_mask_token(logits_BLV, mask_id)
  if temperature == 0:
    guess_BL = jnp.argmax(allowed_BLV, axis=-1)
  else:
    guess_BL = jax.vmap(jax.random.categorical)(
      keys_B, allowed_BLV / temperature
    )
  guess_BL = guess_BL.astype(token_ids_BL.dtype)
  log_prob_BL = token_log_prob(logits_BLV, guess_BL, mask_id)
  return Proposal(
    jnp.where(is_masked_BL, guess_BL, token_ids_BL),
    jnp.where(is_masked_BL, log_prob_BL, 0.0),
  )


def step(
  keys_B: jax.Array,
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  proposal: Proposal,
  t: jax.Array | float,
  t_next: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
  """One ancestral step: reveals each masked token at the rate of Eq. 4.

  Which positions are revealed does not depend on what is proposed there.
  After a step that revealed nothing, no proposal has been used, so the same
  proposal serves the next step with the same law as a fresh one: that is the
  cache, and why it need not hold the [B, L, V] probabilities.

  Args:
    keys_B: one a text, each used once.
    token_ids_BL: the text so far.
    is_masked_BL: True where it is still to be revealed.
    proposal: drawn from a prediction of exactly this text.
    t: current time.
    t_next: smaller time; 0 reveals everything.

  Returns:
    token_ids_BL and is_masked_BL at t_next.
  """
  draw_BL = _uniform(keys_B, token_ids_BL.shape[1])
  reveal_BL = is_masked_BL & (draw_BL * t < t - t_next)
  return (
    jnp.where(reveal_BL, proposal.token_ids_BL, token_ids_BL),
    is_masked_BL & ~reveal_BL,
  )


def step_by_confidence(
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  proposal: Proposal,
  num_masked_B: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Reveals the surest proposals, so that `num_masked_B` stay masked.

  Confidence order is MaskGIT's (arXiv 2202.04200, section 3.2), without its
  noise: ties go to the left.

  Returns:
    token_ids_BL and is_masked_BL after the step.
  """
  # Revealed positions rank before all masked ones.
  doubt_BL = jnp.where(is_masked_BL, -proposal.log_prob_BL, -jnp.inf)
  rank_BL = jnp.argsort(jnp.argsort(doubt_BL, axis=-1), axis=-1)
  length = token_ids_BL.shape[-1]
  reveal_BL = is_masked_BL & (rank_BL < length - num_masked_B[:, None])
  return (
    jnp.where(reveal_BL, proposal.token_ids_BL, token_ids_BL),
    is_masked_BL & ~reveal_BL,
  )


def _uniform(keys_B: jax.Array, length: int) -> jax.Array:
  """[B, length] fp32; each row from its own key alone."""
  return jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))(
    keys_B
  )


def _vocabulary(logits_BLV: jax.Array) -> jax.Array:
  """Token ids [1, 1, V], to compare with."""
  return jnp.arange(logits_BLV.shape[-1], dtype=jnp.int32)[None, None]


def _without_mask_token(logits_BLV: jax.Array, mask_id: int) -> jax.Array:
  """The logits in fp32 with MASK made impossible, Eq. 2."""
  if not 0 <= mask_id < logits_BLV.shape[-1]:
    raise ValueError(
      f"mask_id: got {mask_id}, expected a token of the text head, which has"
      f" {logits_BLV.shape[-1]}; config.model.vocab_size must be the length of"
      " the tokenizer that names the mask token."
    )
  is_mask = _vocabulary(logits_BLV) == mask_id
  return jnp.where(is_mask, vocabulary.NEVER, logits_BLV.astype(jnp.float32))
