"""Random keys by stream name and step; nothing random is ever checkpointed."""

import zlib

import jax


def stream(seed: int, name: str, step: jax.Array | int) -> jax.Array:
  """The key of one named stream at one step.

  The name is hashed with CRC-32, which is the same on every host and run.

  Args:
    seed: root of the run (`config.seed`).
    name: what the key is for, such as "flow/t"; each name is used once a step.
    step: training step.
  """
  root = jax.random.key(seed)
  named = jax.random.fold_in(root, zlib.crc32(name.encode()))
  return jax.random.fold_in(named, step)
