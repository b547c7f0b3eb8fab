"""Uniform draws behind the diffusion times of a batch."""

import jax
import jax.numpy as jnp


def uniform(key: jax.Array, batch: int, *, antithetic: bool) -> jax.Array:
  """One number in [0, 1) per example, [B] fp32.

  Independent draws, or (`antithetic`) one shared draw u with
  `u_i = (u + i / B) mod 1`: every stratum of width 1/B holds exactly one
  example, which lowers the variance of the loss over the batch, and each u_i
  alone is still uniform (VDM's low-discrepancy sampler, arXiv 2107.00630), so
  no position of the batch, hence no host, sees only some of the times.
  """
  if not antithetic:
    return jax.random.uniform(key, (batch,), jnp.float32)
  offset_B = jnp.arange(batch, dtype=jnp.float32) / batch
  return (jax.random.uniform(key, (), jnp.float32) + offset_B) % 1.0
