"""Captioning and answering: masked diffusion of text beside a clean image.

From the given tokens (none for a caption, the question for an answer) every
other position starts masked and is revealed over `steps` steps. The network
reads T5 features of the partly masked text, so the T5 encoder runs inside the
loop, and the whole loop is one `lax.fori_loop`. `prompts.py` makes the
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
  token_ids_BL: jax.Array
  is_masked_BL: jax.Array
  proposal: masked.Proposal
  is_stale: jax.Array  # changed since the proposal, with more to reveal


def sample_text(
  model_apply: Callable[..., Any],
  params: Any,
  encode_text: Callable[[jax.Array], jax.Array],
  latents_BHWC: jax.Array | None,
  *,
  key: jax.Array,
  prompt_ids_BL: jax.Array,
  prompt_mask_BL: jax.Array,
  mask_id: int,
  steps: int,
  schedule: str = "ancestral",
  temperature: float = 1.0,
) -> jax.Array:
  """Samples the tokens that the prompt leaves open.

  The network and T5 run only at steps where the text has changed; otherwise
  the last proposal stands, with the same law (`masked.step`). With more steps
  than tokens most steps cost nothing. Only arrays may be traced.

  Args:
    model_apply: `MMDiT(config).apply`.
    params: parameters of the network.
    encode_text: pure, ids [B, L] -> features [B, L, E]. Under jit its weights
      must be traced arguments too (`make_sampler`), or they are compiled in
      as constants.
    latents_BHWC: clean scaled latents of the image; None for the null image.
    key: used for proposals and for the order of the ancestral schedule.
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
  batch = prompt_ids_BL.shape[0]

  def propose(
    key: jax.Array, state: _State, temperature: float
  ) -> masked.Proposal:
    """Fresh guesses of the masked tokens of this text."""
    shown_BL = jnp.where(
      state.is_masked_BL, jnp.int32(mask_id), state.token_ids_BL
    )
    out = model_apply(
      {"params": params},
      latents_BHWC,
      encode_text(shown_BL),
      jnp.zeros((batch,), jnp.float32),
      heads=("logits",),
    )
    return masked.propose(
      key,
      out.logits_BLV,
      state.token_ids_BL,
      state.is_masked_BL,
      mask_id=mask_id,
      temperature=temperature,
    )

  reveal = _ancestral if schedule == "ancestral" else _confidence
  is_open_BL = ~prompt_mask_BL

  def body(i: jax.Array, state: _State) -> _State:
    guess_key, reveal_key = jax.random.split(jax.random.fold_in(key, i))
    proposal = jax.lax.cond(
      state.is_stale,
      lambda: propose(guess_key, state, temperature),
      lambda: state.proposal,
    )
    token_ids_BL, is_masked_BL = reveal(
      reveal_key, state, proposal, i, steps, is_open_BL
    )
    has_changed = jnp.any(is_masked_BL != state.is_masked_BL)
    is_stale = has_changed & jnp.any(is_masked_BL)
    return _State(token_ids_BL, is_masked_BL, proposal, is_stale)

  state = _State(
    prompt_ids_BL,
    is_open_BL,
    masked.Proposal(prompt_ids_BL, jnp.zeros(prompt_ids_BL.shape, jnp.float32)),
    jnp.any(is_open_BL),
  )
  state = jax.lax.fori_loop(0, steps, body, state)
  return jax.lax.cond(
    jnp.any(state.is_masked_BL),
    lambda: propose(key, state, 0.0).token_ids_BL,
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
    (params, text_params, latents_BHWC, key, prompt_ids_BL, prompt_mask_BL)
    -> token_ids_BL.
  """

  @jax.jit
  def sample(
    params: Any,
    text_params: Any,
    latents_BHWC: jax.Array | None,
    key: jax.Array,
    prompt_ids_BL: jax.Array,
    prompt_mask_BL: jax.Array,
  ) -> jax.Array:
    return sample_text(
      model_apply,
      params,
      lambda ids_BL: text_apply(text_params, ids_BL),
      latents_BHWC,
      key=key,
      prompt_ids_BL=prompt_ids_BL,
      prompt_mask_BL=prompt_mask_BL,
      **settings,
    )

  return sample


def _ancestral(
  key: jax.Array,
  state: _State,
  proposal: masked.Proposal,
  i: jax.Array,
  steps: int,
  is_open_BL: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Step i of `steps` even ones from t = 1 to `_T_END`, at random."""
  del is_open_BL
  t_S = jnp.linspace(1.0, _T_END, steps + 1, dtype=jnp.float32)
  return masked.step(
    key,
    state.token_ids_BL,
    state.is_masked_BL,
    proposal,
    t_S[i],
    t_S[i + 1],
  )


def _confidence(
  key: jax.Array,
  state: _State,
  proposal: masked.Proposal,
  i: jax.Array,
  steps: int,
  is_open_BL: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Step i of `steps`, each revealing the same share of the open tokens."""
  del key
  num_open_B = jnp.sum(is_open_BL, axis=-1, dtype=jnp.int32)
  num_masked_B = num_open_B * (steps - 1 - i) // steps
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
