"""What happens to each token between the products: norm, modulation, GELU.

All of it is computed in float32 and rounded once. The gradients are written
out so that only what goes in is kept for them.
"""

import math

import jax
import jax.numpy as jnp

NORM_EPS = 1e-6
# The tanh form of GELU is h sigmoid(A h + B h^3).
_A = 2.0 * math.sqrt(2.0 / math.pi)
_B = 0.044715 * _A


def layer_norm(x: jax.Array) -> jax.Array:
  """Layer normalisation over the last axis without affine."""
  return _normalise(x)[0].astype(x.dtype)


@jax.custom_vjp
def modulate(x_BTD: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
  """Adaptive layer norm: `norm(x) (1 + scale) + shift`.

  Args:
    x_BTD: tokens.
    shift: [B, 1, D], or [1, 1, D] for all.
    scale: likewise.
  """
  normed, _ = _normalise(x_BTD)
  return (normed * (1.0 + _fp32(scale)) + _fp32(shift)).astype(x_BTD.dtype)


def _modulate_forward(
  x_BTD: jax.Array, shift: jax.Array, scale: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return modulate(x_BTD, shift, scale), (x_BTD, scale)


def _modulate_backward(
  saved: tuple[jax.Array, jax.Array], grad_BTD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  x_BTD, scale = saved
  normed, inverse = _normalise(x_BTD)
  grad = _fp32(grad_BTD)
  grad_scale = _sum_of_tokens(grad * normed, scale)
  grad_shift = _sum_of_tokens(grad, scale)
  grad = grad * (1.0 + _fp32(scale))
  along = jnp.mean(grad * normed, axis=-1, keepdims=True)
  grad_x = inverse * (grad - grad.mean(-1, keepdims=True) - along * normed)
  return tuple(g.astype(x_BTD.dtype) for g in (grad_x, grad_shift, grad_scale))


modulate.defvjp(_modulate_forward, _modulate_backward)


@jax.custom_vjp
def add_gated(
  x_BTD: jax.Array, gate: jax.Array, update_BTD: jax.Array
) -> jax.Array:
  """`x + gate update`, the residual sum; gate [B, 1, D], or [1, 1, D]."""
  return (_fp32(x_BTD) + _fp32(gate) * _fp32(update_BTD)).astype(x_BTD.dtype)


def _add_gated_forward(
  x_BTD: jax.Array, gate: jax.Array, update_BTD: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return add_gated(x_BTD, gate, update_BTD), (gate, update_BTD)


def _add_gated_backward(
  saved: tuple[jax.Array, jax.Array], grad_BTD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  gate, update_BTD = saved
  grad = _fp32(grad_BTD)
  grad_gate = _sum_of_tokens(grad * _fp32(update_BTD), gate)
  grad_update = grad * _fp32(gate)
  return (
    grad_BTD,
    grad_gate.astype(gate.dtype),
    grad_update.astype(update_BTD.dtype),
  )


add_gated.defvjp(_add_gated_forward, _add_gated_backward)


@jax.custom_vjp
def gelu(h: jax.Array) -> jax.Array:
  """GELU in its tanh form, as SD3 has it."""
  return (_fp32(h) * _gate(_fp32(h))).astype(h.dtype)


def _gelu_forward(h: jax.Array) -> tuple[jax.Array, jax.Array]:
  return gelu(h), h


def _gelu_backward(h: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
  h32 = _fp32(h)
  gate = _gate(h32)
  slope = gate + h32 * gate * (1.0 - gate) * (_A + 3.0 * _B * h32 * h32)
  return ((_fp32(grad) * slope).astype(h.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def _gate(h: jax.Array) -> jax.Array:
  return jax.nn.sigmoid(h * (_A + _B * h * h))


def _normalise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """x with mean 0 and variance 1 along the last axis, and 1 / deviation."""
  centred = _fp32(x)
  centred = centred - centred.mean(-1, keepdims=True)
  variance = jnp.mean(centred * centred, -1, keepdims=True)
  inverse = jax.lax.rsqrt(variance + NORM_EPS)
  return centred * inverse, inverse


def _sum_of_tokens(grad_BTD: jax.Array, like: jax.Array) -> jax.Array:
  """Summed to the shape of `like`, which each token of a row (or all) read."""
  axes = (0, 1) if like.shape[0] == 1 else 1
  return jnp.sum(grad_BTD, axes, keepdims=True)


def _fp32(x: jax.Array) -> jax.Array:
  return x.astype(jnp.float32)
