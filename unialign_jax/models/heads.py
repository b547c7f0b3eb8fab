"""What leaves the trunk: image head, text head, alignment heads.

The output norms belong to the heads: `image_out` and `text_out`, the tokens
that InfoNCE pools, are taken between norm and projection.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from unialign_jax.models import activations
from unialign_jax.models import products


class ImageHead(nn.Module):
  """Adaptive layer norm (SD3's `norm_out`), then linear to patch pixels."""

  width: int
  patch_dim: int
  dtype: jnp.dtype

  def setup(self) -> None:
    zeros = nn.initializers.zeros
    self.modulation = products.Dense(
      2 * self.width, dtype=self.dtype, kernel_init=zeros
    )
    # Zero here: a fresh model predicts zero velocity.
    self.proj = products.Dense(
      self.patch_dim, dtype=self.dtype, kernel_init=zeros
    )

  def norm(self, image_BTD: jax.Array, time_BD: jax.Array) -> jax.Array:
    """The normalised image tokens; the scale comes before the shift (SD3)."""
    m = self.modulation(nn.silu(time_BD))[:, None, :]
    scale, shift = jnp.split(m, 2, axis=-1)
    return activations.modulate(image_BTD, shift, scale)

  def project(self, image_out_BTD: jax.Array) -> jax.Array:
    """[B, T, D] -> velocity patches [B, T, P*P*C]."""
    return self.proj(image_out_BTD)


class TextHead(nn.Module):
  """Layer norm without affine, then linear to the vocabulary."""

  vocab_size: int
  dtype: jnp.dtype

  def setup(self) -> None:
    self.proj = products.Dense(self.vocab_size, dtype=self.dtype)

  def norm(self, text_BLD: jax.Array) -> jax.Array:
    """The normalised text tokens."""
    return activations.layer_norm(text_BLD)

  def project(self, text_out_BLD: jax.Array) -> jax.Array:
    """[B, L, D] -> logits [B, L, V]."""
    return self.proj(text_out_BLD)


def text_projection(
  params: Any, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
  """Kernel [D, V] and bias [V] of the text head, out of all parameters."""
  projection = params["text_head"]["proj"]
  return projection["kernel"].astype(dtype), projection["bias"].astype(dtype)


class AlignHead(nn.Module):
  """Tokens -> mean -> Linear, SiLU, Linear, SiLU -> semantic space (Eq. 4).

  Pooling comes first, so the caller hands over the mean: [B, D] -> [B, E]; or
  all tokens, [B, T, D] -> [B, T, E], to align them one by one.
  """

  hidden: int
  semantic_dim: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    x = products.Dense(self.hidden, dtype=self.dtype, name="fc_in")(features)
    x = products.Dense(self.semantic_dim, dtype=self.dtype, name="fc_out")(
      nn.silu(x)
    )
    return nn.silu(x)
