"""Joint attention in one place: every block and every platform comes here.

There is no mask: SD3, Dual Diffusion and UniAlignment all attend to padding,
and an additive mask is what makes cuDNN store a full attention-bias gradient.
"""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from unialign_jax.models import splash

IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")
# What remat policies call output and log-sum-exp.
SAVED = "attention"


def attention(
  q_BSNK: jax.Array,
  k_BSNK: jax.Array,
  v_BSNK: jax.Array,
  *,
  implementation: str = "auto",
) -> jax.Array:
  """Softmax attention over the whole joint sequence, scaled by 1/sqrt(K).

  Args:
    q_BSNK: queries; B batch, S joint sequence, N heads, K head width.
    k_BSNK: keys.
    v_BSNK: values.
    implementation: "xla" (explicit contractions, runs everywhere), "cudnn"
      (fused, NVIDIA GPUs, fp16 or bf16), "splash" (fused, TPUs, S a multiple
      of 128), or "auto": the fused one of the platform where it can run. The
      platform is that of the mesh that is set, which need not be here.

  Returns:
    [B, S, N, K] in the dtype of the values, named `SAVED`.

  Raises:
    ValueError: for an unknown implementation, or one that cannot run.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f"config.model.attention: got {implementation!r}, expected one of"
      f" {IMPLEMENTATIONS}."
    )
  if implementation == "auto":
    implementation = _fused(q_BSNK) or "xla"
  if implementation == "splash":
    return splash.attention(q_BSNK, k_BSNK, v_BSNK, checkpoint_name=SAVED)
  if implementation == "cudnn":
    out = jax.nn.dot_product_attention(
      q_BSNK, k_BSNK, v_BSNK, implementation="cudnn"
    )
  else:
    out = _contract(q_BSNK, k_BSNK, v_BSNK)
  return checkpoint_name(out, SAVED)


def _fused(q_BSNK: jax.Array) -> str | None:
  """The fused implementation of the platform, if it takes these queries."""
  mesh = jax.sharding.get_abstract_mesh()
  device = None if mesh.empty else mesh.abstract_device
  platform = device.platform if device else jax.default_backend()
  if platform == "tpu" and splash.fits(q_BSNK.shape, mesh):
    return "splash"
  half = q_BSNK.dtype in (jnp.bfloat16, jnp.float16)
  if platform in ("gpu", "cuda") and half:
    return "cudnn"
  return None


def _contract(
  q_BSNK: jax.Array, k_BSNK: jax.Array, v_BSNK: jax.Array
) -> jax.Array:
  # Heads before tokens: with [B, N, S, K] operands XLA's CPU backend runs the
  # two contractions as plain batched matrix products, about twice as fast as
  # the [B, S, N, K] einsum of jax.nn.dot_product_attention.
  scale = q_BSNK.shape[-1] ** -0.5
  q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q_BSNK, k_BSNK, v_BSNK))
  scores = jnp.einsum("bnsk,bntk->bnst", q * scale, k)
  weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
  out = jnp.einsum("bnst,bntk->bnsk", weights.astype(v.dtype), v)
  return jnp.swapaxes(out, 1, 2)
