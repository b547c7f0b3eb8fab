"""Matrix products and dense layers: operands as they are, sums in float32.

Every accelerator adds up bf16 products in float32. Asking for it by name keeps
the operands bf16 on CPUs too: XLA's CPU backend otherwise turns them into
float32 and runs at half the speed. JAX's own gradient would make products of
float32 cotangents, so here each gradient is a product of the same kind.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn


def einsum(formula: str, a: jax.Array, b: jax.Array) -> jax.Array:
  """`jnp.einsum` of two arrays of one dtype; the result is float32."""
  return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)


@jax.custom_vjp
def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """`x kernel + bias` with one rounding, at the end.

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
  product = einsum("...i,io->...o", x, kernel)
  bias = jnp.broadcast_to(bias.astype(jnp.float32), product.shape)
  return (product + bias).astype(x.dtype), (x, kernel)


def _affine_backward(
  saved: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  x, kernel = saved
  grad_x = einsum("...o,io->...i", grad, kernel)
  grad_kernel = einsum("...i,...o->io", x, grad)
  # The sum over the rows as a product: on CPUs a sum of bf16 takes longer
  # than the products above.
  ones = jnp.ones((*grad.shape[:-1], 1), grad.dtype)
  (grad_bias,) = einsum("...i,...o->io", ones, grad)
  return tuple(g.astype(x.dtype) for g in (grad_x, grad_kernel, grad_bias))


affine.defvjp(_affine_forward, _affine_backward)


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
