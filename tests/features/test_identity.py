"""Hashes of encoders."""

import ml_dtypes
import numpy as np

from unialign_jax.features import identity

ONE, TWO = np.arange(6, dtype=np.float32), np.ones((2, 3), np.float32)


class Counting(dict):
  """Counts how often each tensor is read."""

  def __init__(self, **tensors):
    super().__init__(**tensors)
    self.reads = []

  def __getitem__(self, name):
    self.reads.append(name)
    return super().__getitem__(name)


def test_a_digest_tells_values_shape_and_dtype():
  kinds = [
    ONE,
    ONE[::-1],
    ONE.reshape(2, 3),
    ONE.astype(np.float16),
    ONE.astype(ml_dtypes.bfloat16),
    ONE.view(np.int32),
    np.float32(1).reshape(()),
  ]
  assert len({identity.tensor_digest(kind) for kind in kinds}) == len(kinds)
  assert identity.tensor_digest(ONE.reshape(2, 3).T) == identity.tensor_digest(
    np.ascontiguousarray(ONE.reshape(2, 3).T)
  )


def test_only_what_is_read_counts_and_is_read_once():
  counting = Counting(a=ONE, b=TWO)
  hashed = identity.Hashed(counting)
  assert "b" in hashed and "c" not in hashed and len(hashed) == 2
  assert not counting.reads and not hashed.digests
  np.testing.assert_array_equal(hashed["a"], ONE)
  assert counting.reads == ["a"]
  assert hashed.digests == {"a": identity.tensor_digest(ONE)}


def test_an_identity_tells_settings_names_and_tensors():
  digests = {"a": "1", "b": "2"}
  base = identity.of(["x", 1], digests)
  assert base == identity.of(["x", 1], dict(reversed(digests.items())))
  others = [
    identity.of(["x", 2], digests),
    identity.of(["x", 1], {"a": "2", "b": "1"}),
    identity.of(["x", 1], {"a": "1"}),
  ]
  assert len({base, *others}) == 4
