"""Classifier-free guidance as small pure functions on velocities.

    v = v_null + scale (v_cond - v_null)                               (1)
    v <- factor v std(v_cond) / std(v) + (1 - factor) v                (2)
    v = v_none + s_image (v_null - v_none) + s_text (v_cond - v_null)  (3)

In (3) v_null has the condition images and not the text, v_none neither: scales
of their own for both (InstructPix2Pix, arXiv 2211.09800). (1) is arXiv
2207.12598 in its common form, where scale 1 is no guidance; (2), the rescale,
is arXiv 2305.08891 section 3.4; restricting (1) to an interval of times is
arXiv 2404.07724.
"""

import jax
import jax.numpy as jnp


def check(scale: float, rescale: float, interval: tuple[float, float]) -> None:
  """Refuses settings that mean nothing.

  Raises:
    ValueError: unless scale >= 0, rescale is in [0, 1] and the interval lies
      in [0, 1] in increasing order.
  """
  low, high = interval
  if scale < 0 or not 0 <= rescale <= 1 or not 0 <= low < high <= 1:
    raise ValueError(
      f"guidance: got scale {scale}, rescale {rescale}, interval {interval};"
      " expected scale >= 0 (1 is no guidance), rescale in [0, 1] (0 is none)"
      " and 0 <= low < high <= 1 (all times: 0, 1)."
    )


def pair(first: jax.Array, second: jax.Array) -> jax.Array:
  """Two batches [B, ...] as one [2 B, ...], neighbours in turn.

  Interleaved, not end to end: a batch sharded over devices stays where it is.
  """
  both = jnp.stack([first, second], axis=1)
  return both.reshape(-1, *first.shape[1:])


def unpair(both: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The inverse of `pair`."""
  both = both.reshape(-1, 2, *both.shape[1:])
  return both[:, 0], both[:, 1]


def combine(
  conditional: jax.Array, unconditional: jax.Array, scale: float
) -> jax.Array:
  """Eq. 1."""
  return unconditional + scale * (conditional - unconditional)


def combine_both(
  conditional: jax.Array,
  without_text: jax.Array,
  without_both: jax.Array,
  scale: float,
  image_scale: float,
) -> jax.Array:
  """Eq. 3."""
  towards_images = combine(without_text, without_both, image_scale)
  return towards_images + scale * (conditional - without_text)


def rescale(
  guided: jax.Array, conditional: jax.Array, factor: float
) -> jax.Array:
  """Eq. 2, each example by its own deviations: against over-saturation."""
  axes = tuple(range(1, guided.ndim))
  ratio = jnp.std(conditional, axis=axes, keepdims=True) / jnp.maximum(
    jnp.std(guided, axis=axes, keepdims=True), 1e-8
  )
  return guided * (factor * ratio + (1.0 - factor))


def is_active(t: jax.Array, interval: tuple[float, float]) -> jax.Array:
  """Whether time t lies in [low, high]."""
  low, high = interval
  return (t >= low) & (t <= high)
