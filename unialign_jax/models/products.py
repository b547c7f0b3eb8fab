"""Matrix products and dense layers: operands as they are, sums in float32.

Every accelerator adds up bf16 products in float32. Asking for it by name keeps
the operands bf16 on CPUs too: XLA's CPU backend otherwise turns them into
float32 and runs at half the speed. JAX's own gradient would make products of
float32 cotangents, so here each gradient is a product of the same kind.

GPUs are asked for the dtype of the operands: there a product is a kernel of
its own, and a float32 result is written and read before it is rounded.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from unialign_jax import sharding


def einsum(formula: str, a: jax.Array, b: jax.Array) -> jax.Array:
  """`jnp.einsum` of two arrays of one dtype; the result is float32."""
  return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)


@jax.custom_vjp
def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """`x kernel + bias`; on GPUs the product is rounded before the sum, too.

  Args:
    x: [..., I].
    kernel: [I, O] in the dtype of x.
    bias: [O] in the dtype of x.

  Returns:
    [..., O] in the dtype of x.
  """
  return _affine_forward(x, kernel, bias)[0]


def _affine_forward(
  x: jax.Array, kernel: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  product = _product("...i,io->...o", x, kernel)
  bias = jnp.broadcast_to(bias.astype(product.dtype), product.shape)
  return (product + bias).astype(x.dtype), (x, kernel)


def _affine_backward(
  saved: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  x, kernel = saved
  grad_x = _product("...o,io->...i", grad, kernel)
  grad_kernel = _product("...i,...o->io", x, grad)
  grad_bias = _sum_of_rows(grad)
  return tuple(g.astype(x.dtype) for g in (grad_x, grad_kernel, grad_bias))


affine.defvjp(_affine_forward, _affine_backward)


def _product(formula: str, a: jax.Array, b: jax.Array) -> jax.Array:
  """`einsum`, in the dtype of the operands on GPUs."""
  if sharding.platform() == "gpu":
    return jnp.einsum(formula, a, b)
  return einsum(formula, a, b)


def _sum_of_rows(x: jax.Array) -> jax.Array:
  """[..., O] -> [O], float32."""
  if sharding.platform() == "gpu":
    # Otherwise XLA lets what made x write float32, for the sum alone to read.
    x = jax.lax.optimization_barrier(x)
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)), dtype=jnp.float32)
  # As a product: on CPUs a sum of bf16 takes longer than those above.
  ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
  (total,) = einsum("...i,...o->io", ones, x)
  return total


class Dense(nn.DenseGeneral):
  """Flax's dense layer over the last axes, computed by `affine`."""

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    """[..., *I] -> [..., *O], where I are the axes that `axis` names."""
    into = self.features
    into = (into,) if isinstance(into, int) else tuple(into)
    num = 1 if isinstance(self.axis, int) else len(self.axis)
    width, out = math.prod(inputs.shape[-num:]), math.prod(into)

    def init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
      # Fan-in and fan-out are those of the whole matrix.
      return self.kernel_init(key, (width, out)).reshape(shape)

    kernel = self.param("kernel", init, (*inputs.shape[-num:], *into))
    bias = self.param("bias", self.bias_init, into)
    x, kernel, bias = (a.astype(self.dtype) for a in (inputs, kernel, bias))
    rows = inputs.shape[:-num]
    product = affine(
      x.reshape(*rows, width), kernel.reshape(width, out), bias.reshape(out)
    )
    return product.reshape(*rows, *into)
