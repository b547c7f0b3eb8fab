"""Captioning and answering: masked diffusion of text beside a clean image.

From the given tokens (none for a caption, the question for an answer) every
other position starts masked and is revealed over `steps` steps. The network
reads T5 features of the partly masked text, so the T5 encoder runs inside the
loop, and the whole loop is one `lax.while_loop`. `prompts.py` makes the
prompts and reads the result.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import masked

SCHEDULES = ("ancestral", "confidence")
# The authors stop here and fill what is still masked with the likeliest token.
_T_END = 1e-5


class _State(NamedTuple):
  step: jax.Array
  token_ids_BL: jax.Array
  is_masked_BL: jax.Array
  proposal: masked.Proposal
  is_stale_B: jax.Array  # changed since the proposal, with more to reveal


def sample_text(
  model_apply: Callable[..., Any],
  params: Any,
  encode_text: Callable[[jax.Array], jax.Array],
  latents_BHWC: jax.Array | None,
  *,
  keys_B: jax.Array,
  prompt_ids_BL: jax.Array,
  prompt_mask_BL: jax.Array,
  mask_id: int,
  steps: int,
  schedule: str = "ancestral",
  temperature: float = 1.0,
) -> jax.Array:
  """Samples the tokens that the prompt leaves open.

  The network and T5 run only at steps where some text has changed; otherwise
  the last proposal stands, with the same law (`masked.step`). With more steps
  than tokens most steps cost nothing, and none is left once all is revealed.
  A text does not depend on those beside it: it is drawn with its own key, and
  keeps its proposal while others get new ones. Only arrays may be traced.

  Args:
    model_apply: `MMDiT(config).apply`.
    params: parameters of the network.
    encode_text: pure, ids [B, L] -> features [B, L, E]. Under jit its weights
      must be traced arguments too (`make_sampler`), or they are compiled in
      as constants.
    latents_BHWC: clean scaled latents of the image; None for the null image.
    keys_B: one a text, for its proposals and for the order of the ancestral
      schedule.
    prompt_ids_BL: int32; read where `prompt_mask_BL`.
    prompt_mask_BL: bool, True where the token is given and stays.
    mask_id: MASK, never sampled.
    steps: number of steps.
    schedule: "ancestral" reveals at random (cached MDLM sampler, the
      authors'), "confidence" the surest tokens first, evenly over the steps.
    temperature: divides the logits; 0 takes the likeliest token.

  Returns:
    token_ids_BL int32 without any MASK; padding comes out as EOS, since that
    is what training pads with.

  Raises:
    ValueError: for settings out of range, or shapes that differ.
  """
  _check_inputs(prompt_ids_BL, prompt_mask_BL, schedule, steps)

  def propose(
    keys_B: jax.Array, state: _State, temperature: float
  ) -> masked.Proposal:
    """Fresh guesses of the masked tokens of every text."""
    shown_BL = jnp.where(
      state.is_masked_BL, jnp.int32(mask_id), state.token_ids_BL
    )
    out = model_apply(
      {"params": params},
      latents_BHWC,
      encode_text(shown_BL),
      jnp.zeros((1,), jnp.float32),
      heads=("logits",),
    )
    return masked.propose(
      keys_B,
      out.logits_BLV,
      state.token_ids_BL,
      state.is_masked_BL,
      mask_id=mask_id,
      temperature=temperature,
    )

  reveal = _ancestral if schedule == "ancestral" else _confidence
  is_open_BL = ~prompt_mask_BL

  def is_unfinished(state: _State) -> jax.Array:
    return (state.step < steps) & jnp.any(state.is_masked_BL)

  def body(state: _State) -> _State:
    guess_keys_B, reveal_keys_B = _keys(keys_B, state.step)
    proposal = jax.lax.cond(
      jnp.any(state.is_stale_B),
      lambda: _where_stale(state, propose(guess_keys_B, state, temperature)),
      lambda: state.proposal,
    )
    token_ids_BL, is_masked_BL = reveal(
      reveal_keys_B, state, proposal, steps, is_open_BL
    )
    has_changed_B = jnp.any(is_masked_BL != state.is_masked_BL, axis=-1)
    is_stale_B = has_changed_B & jnp.any(is_masked_BL, axis=-1)
    return _State(
      state.step + 1, token_ids_BL, is_masked_BL, proposal, is_stale_B
    )

  nothing = jnp.zeros(prompt_ids_BL.shape, jnp.float32)
  state = _State(
    jnp.int32(0),
    prompt_ids_BL,
    is_open_BL,
    masked.Proposal(prompt_ids_BL, nothing),
    jnp.any(is_open_BL, axis=-1),
  )
  state = jax.lax.while_loop(is_unfinished, body, state)
  return jax.lax.cond(
    jnp.any(state.is_masked_BL),
    lambda: propose(keys_B, state, 0.0).token_ids_BL,
    lambda: state.token_ids_BL,
  )


def make_sampler(
  model_apply: Callable[..., Any],
  text_apply: Callable[[Any, jax.Array], jax.Array],
  **settings: Any,
) -> Callable[..., jax.Array]:
  """`sample_text`, jitted end to end with the weights of both networks traced.

  Args:
    model_apply: `MMDiT(config).apply`.
    text_apply: pure, (text_params, ids [B, L]) -> features [B, L, E].
    **settings: `mask_id`, `steps`, `schedule`, `temperature`.

  Returns:
    (params, text_params, latents_BHWC, keys_B, prompt_ids_BL, prompt_mask_BL)
    -> token_ids_BL.
  """

  @jax.jit
  def sample(
    params: Any,
    text_params: Any,
    latents_BHWC: jax.Array | None,
    keys_B: jax.Array,
    prompt_ids_BL: jax.Array,
    prompt_mask_BL: jax.Array,
  ) -> jax.Array:
    return sample_text(
      model_apply,
      params,
      lambda ids_BL: text_apply(text_params, ids_BL),
      latents_BHWC,
      keys_B=keys_B,
      prompt_ids_BL=prompt_ids_BL,
      prompt_mask_BL=prompt_mask_BL,
      **settings,
    )

  return sample


def _keys(keys_B: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Two keys [B] for a step: one for what is guessed, one for what is shown."""

  def of_one(key: jax.Array) -> jax.Array:
    return jax.random.split(jax.random.fold_in(key, step))

  keys_B2 = jax.vmap(of_one)(keys_B)
  return keys_B2[:, 0], keys_B2[:, 1]


def _where_stale(state: _State, fresh: masked.Proposal) -> masked.Proposal:
  """The fresh proposals of the texts that need one, the old of the others."""
  return jax.tree.map(
    lambda new, old: jnp.where(state.is_stale_B[:, None], new, old),
    fresh,
    state.proposal,
  )


def _ancestral(
  keys_B: jax.Array,
  state: _State,
  proposal: masked.Proposal,
  steps: int,
  is_open_BL: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """One of `steps` even steps from t = 1 to `_T_END`, at random."""
  del is_open_BL
  t_S = jnp.linspace(1.0, _T_END, steps + 1, dtype=jnp.float32)
  return masked.step(
    keys_B,
    state.token_ids_BL,
    state.is_masked_BL,
    proposal,
    t_S[state.step],
    t_S[state.step + 1],
  )


def _confidence(
  keys_B: jax.Array,
  state: _State,
  proposal: masked.Proposal,
  steps: int,
  is_open_BL: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """One of `steps`, each revealing the same share of the open tokens."""
  del keys_B
  num_open_B = jnp.sum(is_open_BL, axis=-1, dtype=jnp.int32)
  num_masked_B = num_open_B * (steps - 1 - state.step) // steps
  return masked.step_by_confidence(
    state.token_ids_BL, state.is_masked_BL, proposal, num_masked_B
  )


def _check_inputs(
  prompt_ids_BL: jax.Array,
  prompt_mask_BL: jax.Array,
  schedule: str,
  steps: int,
) -> None:
  if schedule not in SCHEDULES:
    raise ValueError(
      f"schedule: got {schedule!r}, expected one of {SCHEDULES}."
    )
  if steps < 1:
    raise ValueError(f"steps: got {steps}, expected at least 1.")
  if prompt_ids_BL.shape != prompt_mask_BL.shape:
    raise ValueError(
      f"prompt_mask_BL: got shape {prompt_mask_BL.shape}, expected that of"
      f" prompt_ids_BL, {prompt_ids_BL.shape}."
    )
