"""The pieces of an SD3 joint block: modulation, one stream, the joint block.

Names and orders follow SD3 (arXiv 2403.03206) so that its weights load.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from unialign_jax.models import attention
from unialign_jax.models import products
from unialign_jax.models.activations import add_gated
from unialign_jax.models.activations import gelu
from unialign_jax.models.activations import modulate
from unialign_jax.models.activations import NORM_EPS

# Width of the sinusoidal timestep features that feed the timestep MLP.
TIMESTEP_FEATURES = 256


class Modulation(NamedTuple):
  """What the timestep says to one stream of one block; each [B, 1, D].

  The last three are there where the stream also attends to itself alone.
  """

  shift_attention: jax.Array
  scale_attention: jax.Array
  gate_attention: jax.Array
  shift_mlp: jax.Array
  scale_mlp: jax.Array
  gate_mlp: jax.Array
  shift_alone: jax.Array | None = None
  scale_alone: jax.Array | None = None
  gate_alone: jax.Array | None = None


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
    x = products.Dense(self.width, dtype=self.dtype, name="linear_1")(x)
    return products.Dense(self.width, dtype=self.dtype, name="linear_2")(
      nn.silu(x)
    )


class Projections(nn.Module):
  """Tokens to queries, keys and values, and heads back to tokens."""

  width: int
  num_heads: int
  qk_norm: bool
  dtype: jnp.dtype

  def setup(self) -> None:
    heads = (self.num_heads, self.width // self.num_heads)
    dense = functools.partial(products.Dense, dtype=self.dtype)
    self.q, self.k, self.v = dense(heads), dense(heads), dense(heads)
    self.out = dense(self.width, axis=(-2, -1))
    if self.qk_norm:
      self.q_norm = nn.RMSNorm(epsilon=NORM_EPS, dtype=self.dtype)
      self.k_norm = nn.RMSNorm(epsilon=NORM_EPS, dtype=self.dtype)

  def qkv(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values [B, T, N, K] of modulated tokens."""
    q, k, v = self.q(x_BTD), self.k(x_BTD), self.v(x_BTD)
    if self.qk_norm:
      q, k = self.q_norm(q), self.k_norm(k)
    return tuple(checkpoint_name(a, "qkv") for a in (q, k, v))


class Stream(Projections):
  """The image half or the text half of a joint block; the same code for both.

  `project` gives what attention needs, `finish` takes what attention gave.
  With `dual` the stream has a second attention, `attn2`, in which it meets
  itself alone: the image of the first blocks of SD3.5-medium.
  """

  mlp_ratio: int
  dual: bool = False

  def setup(self) -> None:
    super().setup()
    # Zero modulation makes every fresh block the identity (DiT, adaLN-Zero).
    chunks = 9 if self.dual else 6
    dense = functools.partial(products.Dense, dtype=self.dtype)
    self.modulation = dense(
      chunks * self.width, kernel_init=nn.initializers.zeros
    )
    self.mlp_in = dense(self.mlp_ratio * self.width)
    self.mlp_out = dense(self.width)
    if self.dual:
      self.attn2 = Projections(
        self.width, self.num_heads, self.qk_norm, self.dtype
      )

  def modulation_of(self, time_BD: jax.Array) -> Modulation:
    """Reads this stream's modulation from the timestep embedding."""
    m = self.modulation(nn.silu(time_BD))[:, None, :]
    return Modulation(*jnp.split(m, m.shape[-1] // self.width, axis=-1))

  def project(
    self, x_BTD: jax.Array, m: Modulation
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values [B, T, N, K] for the joint attention."""
    return self.qkv(modulate(x_BTD, m.shift_attention, m.scale_attention))

  def project_alone(
    self, x_BTD: jax.Array, m: Modulation
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values [B, T, N, K] for the second attention."""
    return self.attn2.qkv(modulate(x_BTD, m.shift_alone, m.scale_alone))

  def finish(
    self,
    x_BTD: jax.Array,
    attended_BTNK: jax.Array,
    m: Modulation,
    alone_BTNK: jax.Array | None = None,
  ) -> jax.Array:
    """Adds gated attention (one or both) and MLP to the residual stream."""
    x_BTD = add_gated(x_BTD, m.gate_attention, self.out(attended_BTNK))
    if alone_BTNK is not None:
      x_BTD = add_gated(x_BTD, m.gate_alone, self.attn2.out(alone_BTNK))
    h = modulate(x_BTD, m.shift_mlp, m.scale_mlp)
    h = checkpoint_name(self.mlp_in(h), "mlp")
    return add_gated(x_BTD, m.gate_mlp, self.mlp_out(gelu(h)))


class JointBlock(nn.Module):
  """Two streams with their own weights that meet in one attention (MMDiT).

  With `dual`, the image also attends to itself (MMDiT-X, SD3.5-medium): both
  attentions read the same residual stream, each with its own modulation.
  """

  width: int
  num_heads: int
  mlp_ratio: int
  qk_norm: bool
  attention: str
  dtype: jnp.dtype
  dual: bool = False

  @nn.compact
  def __call__(
    self, image_BTD: jax.Array, text_BLD: jax.Array, time_BD: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """[B, T, D] image (target, then conditions) and [B, L, D] text -> same."""
    shape = (self.width, self.num_heads, self.qk_norm, self.dtype)
    image = Stream(*shape, self.mlp_ratio, self.dual, name="image")
    text = Stream(*shape, self.mlp_ratio, name="text")

    image_mod = image.modulation_of(time_BD)
    text_mod = text.modulation_of(time_BD)
    image_out, text_out = self._attend(
      image.project(image_BTD, image_mod), text.project(text_BLD, text_mod)
    )
    alone = None
    if self.dual:
      (alone,) = self._attend(image.project_alone(image_BTD, image_mod))
    image_BTD = image.finish(image_BTD, image_out, image_mod, alone)
    text_BLD = text.finish(text_BLD, text_out, text_mod)
    return image_BTD, text_BLD

  def _attend(
    self, *streams: tuple[jax.Array, jax.Array, jax.Array]
  ) -> tuple[jax.Array, ...]:
    """Joint attention of streams, each given as queries, keys and values."""
    return attention.attention(*zip(*streams), implementation=self.attention)
