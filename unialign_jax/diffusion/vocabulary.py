"""log p of masked tokens without ever holding the logits of all positions.

With x the tokens after the text head's norm, W and b its projection:

    log p(token) = (x W + b)[token] - logsumexp(x W + b),  MASK left out

[B, L, V] is the largest tensor of a step, and half of it is for positions that
the loss ignores. Here each device puts its masked positions first, goes
through as many parts of `rows` positions as those fill, and forgets each
part's logits; the backward pass computes them again. Where V is shared out,
devices exchange two numbers a position.
"""

import functools

import jax
import jax.numpy as jnp

from unialign_jax import sharding
from unialign_jax.models import products

# A finite stand-in for -inf: it leaves no NaN in the gradients.
NEVER = -1e6


def masked_log_prob(
  x_BLD: jax.Array,
  kernel_DV: jax.Array,
  bias_V: jax.Array,
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  *,
  mask_id: int,
  rows: int,
) -> jax.Array:
  """log p of the given tokens with MASK excluded, [B, L] fp32.

  Args:
    x_BLD: `text_out` of the network, in its dtype.
    kernel_DV: of the text head, in the dtype of x.
    bias_V: likewise.
    token_ids_BL: the clean text.
    is_masked_BL: where the value counts; elsewhere it is 0, without gradient.
    mask_id: token whose probability is zero.
    rows: positions of a device whose logits exist at a time.
  """
  local = functools.partial(_local, mask_id=mask_id, rows=rows)
  mesh = jax.sharding.get_abstract_mesh()
  tokens = sharding.TOKENS
  if not sharding.shares_out(x_BLD.shape, tokens):
    tokens = sharding.BATCH
  if mesh.empty or not sharding.shares_out(x_BLD.shape, tokens):
    return local(x_BLD, kernel_DV, bias_V, token_ids_BL, is_masked_BL)
  # By hand: which positions come first is each device's own affair.
  return jax.shard_map(
    functools.partial(local, vocabulary_axis="tensor"),
    in_specs=(tokens, jax.P(None, "tensor"), jax.P("tensor"), tokens, tokens),
    out_specs=tokens,
    check_vma=False,
  )(x_BLD, kernel_DV, bias_V, token_ids_BL, is_masked_BL)


def _local(
  x_BLD: jax.Array,
  kernel_DV: jax.Array,
  bias_V: jax.Array,
  token_ids_BL: jax.Array,
  is_masked_BL: jax.Array,
  *,
  mask_id: int,
  rows: int,
  vocabulary_axis: str | None = None,
) -> jax.Array:
  """What one device computes of its positions and its part of V."""
  x_ND = x_BLD.reshape(-1, x_BLD.shape[-1])
  first = 0
  if vocabulary_axis is not None:
    first = jax.lax.axis_index(vocabulary_axis) * kernel_DV.shape[1]
  order_N = jnp.argsort(~is_masked_BL.reshape(-1), stable=True)
  num_parts = -(-jnp.sum(is_masked_BL, dtype=jnp.int32) // rows)
  filled = (0, -len(order_N) % rows)
  log_sum_N, picked_N = _in_parts(
    jnp.pad(_take(x_ND, order_N), (filled, (0, 0))),
    kernel_DV,
    bias_V,
    jnp.pad(token_ids_BL.reshape(-1)[order_N] - first, filled),
    jnp.asarray(mask_id - first, jnp.int32),
    num_parts,
    rows,
  )
  if vocabulary_axis is not None:
    largest_N = jax.lax.pmax(jax.lax.stop_gradient(log_sum_N), vocabulary_axis)
    total_N = jax.lax.psum(jnp.exp(log_sum_N - largest_N), vocabulary_axis)
    log_sum_N = largest_N + jnp.log(total_N)
    picked_N = jax.lax.psum(picked_N, vocabulary_axis)
  log_prob_N = _take(picked_N - log_sum_N, jnp.argsort(order_N))
  return jnp.where(is_masked_BL, log_prob_N.reshape(is_masked_BL.shape), 0.0)


def _take(x: jax.Array, order_N: jax.Array) -> jax.Array:
  """Rows in an order in which each comes once."""
  return x.at[order_N].get(unique_indices=True, mode="promise_in_bounds")


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _in_parts(
  x_ND: jax.Array,
  kernel_DV: jax.Array,
  bias_V: jax.Array,
  target_N: jax.Array,
  mask_target: jax.Array,
  num_parts: jax.Array,
  rows: int,
) -> tuple[jax.Array, jax.Array]:
  """logsumexp of the logits, and that of the target: [N] fp32 each.

  Only the first `num_parts` times `rows` are computed; the rest is 0. Targets
  and MASK count from the first token of this part of V, and may lie outside.
  """
  return _forward(
    x_ND, kernel_DV, bias_V, target_N, mask_target, num_parts, rows
  )[0]


def _forward(
  x_ND: jax.Array,
  kernel_DV: jax.Array,
  bias_V: jax.Array,
  target_N: jax.Array,
  mask_target: jax.Array,
  num_parts: jax.Array,
  rows: int,
) -> tuple[tuple[jax.Array, jax.Array], tuple]:
  def part(i: jax.Array, out: tuple) -> tuple:
    logits_MV = _logits(_rows(x_ND, i, rows), kernel_DV, bias_V, mask_target)
    is_target_MV = _is(_rows(target_N, i, rows), logits_MV)
    found = (
      jax.nn.logsumexp(logits_MV, axis=-1),
      jnp.sum(jnp.where(is_target_MV, logits_MV, 0.0), axis=-1),
    )
    return tuple(
      jax.lax.dynamic_update_slice_in_dim(all_N, some_M, i * rows, axis=0)
      for all_N, some_M in zip(out, found)
    )

  zeros_N = jnp.zeros(x_ND.shape[0], jnp.float32)
  out = jax.lax.fori_loop(0, num_parts, part, (zeros_N, zeros_N))
  saved = (x_ND, kernel_DV, bias_V, target_N, mask_target, num_parts, out[0])
  return out, saved


def _backward(rows: int, saved: tuple, grads: tuple) -> tuple:
  x_ND, kernel_DV, bias_V, target_N, mask_target, num_parts, log_sum_N = saved
  log_sum_grad_N, picked_grad_N = grads

  def part(i: jax.Array, sums: tuple) -> tuple:
    grad_x_ND, grad_kernel_DV, grad_bias_V = sums
    x_MD, target_M, log_sum_M, log_sum_grad_M, picked_grad_M = (
      _rows(a, i, rows)
      for a in (x_ND, target_N, log_sum_N, log_sum_grad_N, picked_grad_N)
    )
    logits_MV = _logits(x_MD, kernel_DV, bias_V, mask_target)
    grad_MV = log_sum_grad_M[:, None] * jnp.exp(logits_MV - log_sum_M[:, None])
    grad_MV += jnp.where(_is(target_M, logits_MV), picked_grad_M[:, None], 0.0)
    grad_bias_V += jnp.sum(grad_MV, axis=0)
    grad_MV = grad_MV.astype(x_ND.dtype)
    grad_x_MD = products.einsum("mv,dv->md", grad_MV, kernel_DV)
    return (
      jax.lax.dynamic_update_slice_in_dim(
        grad_x_ND, grad_x_MD.astype(x_ND.dtype), i * rows, axis=0
      ),
      grad_kernel_DV + products.einsum("md,mv->dv", x_MD, grad_MV),
      grad_bias_V,
    )

  start = (
    jnp.zeros_like(x_ND),
    jnp.zeros(kernel_DV.shape, jnp.float32),
    jnp.zeros(bias_V.shape, jnp.float32),
  )
  grad_x, grad_kernel, grad_bias = jax.lax.fori_loop(0, num_parts, part, start)
  dtype = x_ND.dtype
  return (
    grad_x,
    grad_kernel.astype(dtype),
    grad_bias.astype(dtype),
    None,
    None,
    None,
  )


_in_parts.defvjp(_forward, _backward)


def _rows(x: jax.Array, i: jax.Array, rows: int) -> jax.Array:
  return jax.lax.dynamic_slice_in_dim(x, i * rows, rows, axis=0)


def _logits(
  x_MD: jax.Array,
  kernel_DV: jax.Array,
  bias_V: jax.Array,
  mask_target: jax.Array,
) -> jax.Array:
  """[M, V] fp32, MASK made impossible."""
  logits_MV = products.einsum("md,dv->mv", x_MD, kernel_DV)
  logits_MV += bias_V.astype(jnp.float32)[None]
  is_mask_V = jnp.arange(logits_MV.shape[1]) == mask_target
  return jnp.where(is_mask_V[None], NEVER, logits_MV)


def _is(target_M: jax.Array, logits_MV: jax.Array) -> jax.Array:
  """[M, V] bool, where a column is the row's target."""
  return jnp.arange(logits_MV.shape[1])[None] == target_M[:, None]
