"""One meaning of "equal within 1e-4 relative" for all parity tests."""

import numpy as np


def assert_close(got, want, relative: float = 1e-4) -> None:
  """Largest difference over largest value, after a check of the shapes."""
  got, want = np.asarray(got), np.asarray(want)
  assert got.shape == want.shape, (got.shape, want.shape)
  error = np.abs(got - want).max() / np.abs(want).max()
  assert error < relative, f"relative error {error:.2e}, want < {relative}"
