"""The pieces of an SD3 joint block: modulation, one stream, the joint block.

Names and orders follow SD3 (arXiv 2403.03206) so that its weights load.
"""

import functools
import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from unialign_jax.models import attention

NORM_EPS = 1e-6
# Width of the sinusoidal timestep features that feed the timestep MLP.
TIMESTEP_FEATURES = 256


def layer_norm(x: jax.Array) -> jax.Array:
  """Layer normalisation over the last axis without affine, in fp32."""
  x32 = x.astype(jnp.float32)
  x32 = x32 - x32.mean(-1, keepdims=True)
  inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + NORM_EPS)
  return (x32 * inverse).astype(x.dtype)


class Modulation(NamedTuple):
  """What the timestep says to one stream of one block; each [B, 1, D]."""

  shift_attention: jax.Array
  scale_attention: jax.Array
  gate_attention: jax.Array
  shift_mlp: jax.Array
  scale_mlp: jax.Array
  gate_mlp: jax.Array


def modulate(x_BTD: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
  """Adaptive layer norm: `norm(x) (1 + scale) + shift`."""
  one = jnp.ones((), scale.dtype)
  return layer_norm(x_BTD) * (one + scale) + shift


def timestep_features(t_B: jax.Array) -> jax.Array:
  """Sinusoidal features [B, 256] of `1000 t`, cosines first (SD3).

  Args:
    t_B: diffusion time in [0, 1], fp32.
  """
  half = TIMESTEP_FEATURES // 2
  exponent = jnp.arange(half, dtype=jnp.float32) / half
  frequencies = jnp.exp(-jnp.log(10000.0) * exponent)
  angles = (1000.0 * t_B)[:, None] * frequencies[None, :]
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbed(nn.Module):
  """Diffusion time -> modulation vector: features -> Linear, SiLU, Linear."""

  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, t_B: jax.Array) -> jax.Array:
    x = timestep_features(t_B).astype(self.dtype)
    x = nn.Dense(self.width, dtype=self.dtype, name="linear_1")(x)
    return nn.Dense(self.width, dtype=self.dtype, name="linear_2")(nn.silu(x))


def flat_dot_general(
  x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
) -> jax.Array:
  """Tokens times kernel as one product of two matrices.

  `lax.dot_general` for the last axes of `x` with the first of the kernel. The
  numbers are the same; XLA's CPU backend runs the gradient of a plain product
  a quarter faster than that of [B, T, D] with [D, N, K].
  """
  (_, contracting), _ = dimension_numbers
  num = len(contracting)
  rows, columns = x.shape[:-num], kernel.shape[num:]
  width = math.prod(kernel.shape[:num])
  product = jax.lax.dot(
    x.reshape(-1, width), kernel.reshape(width, -1), **options
  )
  return product.reshape(*rows, *columns)


class Stream(nn.Module):
  """The image half or the text half of a joint block; the same code for both.

  `project` gives what attention needs, `finish` takes what attention gave.
  """

  width: int
  num_heads: int
  mlp_ratio: int
  qk_norm: bool
  dtype: jnp.dtype

  def setup(self) -> None:
    heads = (self.num_heads, self.width // self.num_heads)
    # Zero modulation makes every fresh block the identity (DiT, adaLN-Zero).
    self.modulation = self._dense(6 * self.width, nn.initializers.zeros)
    dense = functools.partial(
      nn.DenseGeneral, dtype=self.dtype, dot_general=flat_dot_general
    )
    self.q, self.k, self.v = dense(heads), dense(heads), dense(heads)
    self.out = dense(self.width, axis=(-2, -1))
    self.mlp_in = self._dense(self.mlp_ratio * self.width)
    self.mlp_out = self._dense(self.width)
    if self.qk_norm:
      self.q_norm = nn.RMSNorm(epsilon=NORM_EPS, dtype=self.dtype)
      self.k_norm = nn.RMSNorm(epsilon=NORM_EPS, dtype=self.dtype)

  def _dense(
    self, features: int, init: Callable = nn.linear.default_kernel_init
  ) -> nn.Dense:
    return nn.Dense(
      features,
      dtype=self.dtype,
      kernel_init=init,
      dot_general=flat_dot_general,
    )

  def modulation_of(self, time_BD: jax.Array) -> Modulation:
    """Reads this stream's modulation from the timestep embedding."""
    m = self.modulation(nn.silu(time_BD))[:, None, :]
    return Modulation(*jnp.split(m, 6, axis=-1))

  def project(
    self, x_BTD: jax.Array, m: Modulation
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values [B, T, N, K] of this stream."""
    x = modulate(x_BTD, m.shift_attention, m.scale_attention)
    q, k, v = self.q(x), self.k(x), self.v(x)
    if self.qk_norm:
      q, k = self.q_norm(q), self.k_norm(k)
    return tuple(checkpoint_name(a, "qkv") for a in (q, k, v))

  def finish(
    self, x_BTD: jax.Array, attended_BTNK: jax.Array, m: Modulation
  ) -> jax.Array:
    """Adds gated attention and gated MLP to the residual stream."""
    x_BTD = x_BTD + m.gate_attention * self.out(attended_BTNK)
    h = modulate(x_BTD, m.shift_mlp, m.scale_mlp)
    h = checkpoint_name(self.mlp_in(h), "mlp")
    return x_BTD + m.gate_mlp * self.mlp_out(nn.gelu(h, approximate=True))


class JointBlock(nn.Module):
  """Two streams with their own weights that meet in one attention (MMDiT)."""

  width: int
  num_heads: int
  mlp_ratio: int
  qk_norm: bool
  attention: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, image_BTD: jax.Array, text_BLD: jax.Array, time_BD: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """[B, T, D] image (target, then conditions) and [B, L, D] text -> same."""
    shape = (self.width, self.num_heads, self.mlp_ratio, self.qk_norm)
    image = Stream(*shape, self.dtype, name="image")
    text = Stream(*shape, self.dtype, name="text")

    image_mod = image.modulation_of(time_BD)
    text_mod = text.modulation_of(time_BD)
    q, k, v = (
      jnp.concatenate(parts, axis=1)
      for parts in zip(
        image.project(image_BTD, image_mod), text.project(text_BLD, text_mod)
      )
    )
    out = attention.attention(q, k, v, implementation=self.attention)
    out = checkpoint_name(out, "attention")
    split = image_BTD.shape[1]
    image_BTD = image.finish(image_BTD, out[:, :split], image_mod)
    text_BLD = text.finish(text_BLD, out[:, split:], text_mod)
    return image_BTD, text_BLD
