"""Keys depend on seed, name and step, and on nothing else."""

import itertools

import jax
import numpy as np

from unialign_jax.training import rng


def _data(seed, name, step) -> tuple[int, ...]:
  return tuple(jax.random.key_data(rng.stream(seed, name, step)).tolist())


def test_streams_differ_by_seed_name_and_step():
  names = ("flow/t", "flow/eps", "text/t", "text/mask", "posterior", "init")
  keys = [
    _data(*parts) for parts in itertools.product((0, 1), names, (0, 1, 2))
  ]
  assert len(set(keys)) == len(keys)


def test_equal_across_calls_and_under_jit():
  want = _data(3, "flow/t", 7)
  assert _data(3, "flow/t", 7) == want
  traced = jax.jit(lambda step: rng.stream(3, "flow/t", step))
  assert tuple(jax.random.key_data(traced(np.int32(7))).tolist()) == want


def test_name_is_hashed_the_same_in_every_process():
  """Python's own hash() differs from run to run; 0x... is CRC-32 of "a"."""
  named = jax.random.fold_in(jax.random.key(5), 0xE8B7BE43)
  want = jax.random.key_data(jax.random.fold_in(named, 2)).tolist()
  assert _data(5, "a", 2) == tuple(want)
