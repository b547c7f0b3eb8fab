"""Joint attention in one place: every block and every platform comes here.

There is no mask: SD3, Dual Diffusion and UniAlignment all attend to padding,
and an additive mask is what makes cuDNN store a full attention-bias gradient.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from unialign_jax import sharding
from unialign_jax.models import products
from unialign_jax.models import splash

IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash", "tokamax")
# What remat policies call output and log-sum-exp.
SAVED = "attention"
# Streams of one joint sequence, each [B, S_i, N, K].
Parts = tuple[jax.Array, ...]


def attention(
  q_parts: Parts,
  k_parts: Parts,
  v_parts: Parts,
  *,
  implementation: str = "auto",
) -> Parts:
  """Softmax attention over a joint sequence, scaled by 1/sqrt(K).

  The streams stay apart for the callers because a mesh may share each of them
  out over `sequence`. There is no mask, so the order of the joint sequence is
  free: each device has its share of every stream, and meets all keys.

  Args:
    q_parts: queries; B batch, S_i tokens, N heads, K head width.
    k_parts: keys.
    v_parts: values.
    implementation: "xla" (explicit contractions, runs everywhere), "cudnn"
      (fused, NVIDIA GPUs, fp16 or bf16), "splash" (fused, TPUs, a device's
      tokens a multiple of 128), "tokamax" (the kernels of that package, which
      chooses among them), or "auto": the fused one of the platform where it
      can run. The platform is that of the mesh that is set, which need not be
      here.

  Returns:
    The streams [B, S_i, N, K] in the dtype of the values; their join is named
    `SAVED`.

  Raises:
    ValueError: for an unknown implementation, or one that cannot run.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f"config.model.attention: got {implementation!r}, expected one of"
      f" {IMPLEMENTATIONS}."
    )
  by_hand = all(sharding.shares_out(q.shape, _SPEC) for q in q_parts)
  if implementation == "auto":
    implementation = _fused(q_parts, by_hand)
  if implementation == "splash":
    splash.check(_own_tokens(q_parts), by_hand)
  attend = functools.partial(_attend, implementation)
  # A kernel is opaque to the compiler's partitioner.
  is_kernel = implementation in ("splash", "tokamax")
  has_mesh = not jax.sharding.get_abstract_mesh().empty
  if has_mesh and by_hand and (is_kernel or sharding.sequence_shares() > 1):
    attend = jax.shard_map(
      functools.partial(_meet_all_keys, attend),
      in_specs=(_SPEC,) * 3,
      out_specs=_SPEC,
      check_vma=False,
    )
  return attend(q_parts, k_parts, v_parts)


# [B, S_i, N, K] as `sharding.TABLE` places what they are made with.
_SPEC = jax.P(*sharding.TOKENS, "tensor")


def _meet_all_keys(
  attend: Callable[..., Parts], q_parts: Parts, k_parts: Parts, v_parts: Parts
) -> Parts:
  """Attention of one device's queries to the keys of all of them."""
  if sharding.sequence_shares() > 1:
    k_parts, v_parts = jax.tree.map(
      lambda x: jax.lax.all_gather(x, "sequence", axis=1, tiled=True),
      (k_parts, v_parts),
    )
  return attend(q_parts, k_parts, v_parts)


def _attend(
  implementation: str, q_parts: Parts, k_parts: Parts, v_parts: Parts
) -> Parts:
  """Attention of the joint sequence, on whatever one program holds of it."""
  q, k, v = (jnp.concatenate(x, axis=1) for x in (q_parts, k_parts, v_parts))
  if implementation == "splash":
    out = splash.attention(q, k, v, checkpoint_name=SAVED)
  elif implementation == "cudnn":
    out = jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    out = checkpoint_name(out, SAVED)
  elif implementation == "tokamax":
    out = checkpoint_name(_tokamax(q, k, v), SAVED)
  else:
    out = _contract(q, k, v)
  ends = itertools.accumulate(part.shape[1] for part in q_parts[:-1])
  return tuple(jnp.split(out, list(ends), axis=1))


def _own_tokens(parts: Parts) -> int:
  """Tokens of the joint sequence that one device has."""
  return sum(part.shape[1] for part in parts) // sharding.sequence_shares()


def _fused(q_parts: Parts, by_hand: bool) -> str:
  """The implementation of the platform that takes these queries."""
  platform = sharding.platform()
  if platform == "tpu" and by_hand and splash.fits(_own_tokens(q_parts)):
    return "splash"
  half = q_parts[0].dtype in (jnp.bfloat16, jnp.float16)
  return "cudnn" if platform == "gpu" and half else "xla"


def _tokamax(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  try:
    import tokamax
  except ImportError as error:
    raise ValueError(
      f"config.model.attention: got 'tokamax' without the package ({error});"
      " install the extra `tokamax`: pip install 'unialign_jax[tokamax]'."
    ) from error
  return tokamax.dot_product_attention(q, k, v)


@jax.custom_vjp
def _contract(
  q_BSNK: jax.Array, k_BSNK: jax.Array, v_BSNK: jax.Array
) -> jax.Array:
  """Attention in explicit products; the weights are never kept.

  As the fused kernels do, the backward pass computes them again from output
  and log-sum-exp (FlashAttention, arXiv 2205.14135, section 3.1).
  """
  return _contract_forward(q_BSNK, k_BSNK, v_BSNK)[0]


def _contract_forward(
  q_BSNK: jax.Array, k_BSNK: jax.Array, v_BSNK: jax.Array
) -> tuple[jax.Array, tuple]:
  # No operand is transposed by hand: XLA's CPU backend would compute such a
  # product of bf16 in float32.
  scores_BNST = products.einsum("bsnk,btnk->bnst", q_BSNK, k_BSNK)
  scores_BNST *= _scale(q_BSNK)
  largest = jnp.max(scores_BNST, axis=-1, keepdims=True)
  weights_BNST = jnp.exp(scores_BNST - largest)
  total = jnp.sum(weights_BNST, axis=-1, keepdims=True)
  # Divided after the product: K numbers a query instead of T.
  weights_BNST = weights_BNST.astype(v_BSNK.dtype)
  out_BNSK = products.einsum("bnst,btnk->bnsk", weights_BNST, v_BSNK)
  out_BSNK = jnp.swapaxes(out_BNSK / total, 1, 2).astype(v_BSNK.dtype)
  # Named here: what is saved under the name spares a second forward pass.
  out_BSNK, log_sum = (
    checkpoint_name(x, SAVED) for x in (out_BSNK, largest + jnp.log(total))
  )
  return out_BSNK, (q_BSNK, k_BSNK, v_BSNK, out_BSNK, log_sum)


def _contract_backward(saved: tuple, grad: jax.Array) -> tuple:
  q, k, v, out, log_sum_BNS1 = saved
  # Keys before queries: of the five products below only the third then runs
  # over the first axis of its operands, which CPUs do at half the speed.
  log_sum_BN1S = jnp.swapaxes(log_sum_BNS1, 2, 3)
  mean_BSN = jnp.sum(_fp32(grad) * _fp32(out), axis=-1)
  mean_BN1S = jnp.swapaxes(mean_BSN, 1, 2)[:, :, None]
  scores_BNTS = products.einsum("btnk,bsnk->bnts", k, q) * _scale(q)
  weights_BNTS = jnp.exp(scores_BNTS - log_sum_BN1S)
  along_BNTS = products.einsum("btnk,bsnk->bnts", v, grad) - mean_BN1S
  along_BNTS = (weights_BNTS * along_BNTS).astype(q.dtype)
  weights_BNTS = weights_BNTS.astype(v.dtype)
  grad_k = products.einsum("bnts,bsnk->bntk", along_BNTS, q) * _scale(q)
  grad_v = products.einsum("bnts,bsnk->bntk", weights_BNTS, grad)
  grads = (
    products.einsum("bnts,btnk->bsnk", along_BNTS, k) * _scale(q),
    jnp.swapaxes(grad_k, 1, 2),
    jnp.swapaxes(grad_v, 1, 2),
  )
  return tuple(g.astype(q.dtype) for g in grads)


_contract.defvjp(_contract_forward, _contract_backward)


def _scale(q: jax.Array) -> float:
  return q.shape[-1] ** -0.5


def _fp32(x: jax.Array) -> jax.Array:
  return x.astype(jnp.float32)
