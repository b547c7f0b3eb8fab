"""The small network that the tests of the model share, and its inputs."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.training import tiny

B, N = 2, 2
TARGET_TOKENS = 4


def inputs():
  rng = np.random.default_rng(3)

  def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
    "latents": normal(B, *tiny.LATENT_SHAPE),
    "text": normal(B, tiny.TEXT_LENGTH, 16),
    "t": jnp.asarray([0.2, 0.9], jnp.float32),
    "cond": normal(B, N, *tiny.LATENT_SHAPE),
  }


def run(model, params, given, **kwargs):
  latents, text, t, cond = (
    given.get(name) for name in ("latents", "text", "t", "cond")
  )
  return model.apply({"params": params}, latents, text, t, cond, **kwargs)


def project(x: jax.Array) -> jax.Array:
  """A number to which every element counts differently.

  Not the sum of squares, which is constant after a layer norm.
  """
  return jnp.sum(
    jnp.square(x + 1.0).ravel() * jnp.cos(jnp.arange(1.0 * x.size))
  )


def size(x: jax.Array) -> float:
  return float(jnp.abs(x).max())
