"""Classifier-free guidance: the formulas, and how batches are paired."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.sampling import guidance


def _velocities() -> tuple[jax.Array, jax.Array]:
  both = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2), jnp.float32)
  return both[0], both[1]


def test_combine_extrapolates_from_the_unconditional():
  cond, null = _velocities()
  np.testing.assert_array_equal(guidance.combine(cond, null, 0.0), null)
  np.testing.assert_allclose(guidance.combine(cond, null, 1.0), cond, atol=1e-6)
  np.testing.assert_allclose(
    guidance.combine(cond, null, 3.0), 3 * cond - 2 * null, atol=1e-5
  )


def test_text_and_images_have_scales_of_their_own():
  cond, null = _velocities()
  none = jnp.flip(cond, axis=1)
  combine = guidance.combine_both
  np.testing.assert_allclose(combine(cond, null, none, 1, 1), cond, atol=1e-6)
  np.testing.assert_allclose(combine(cond, null, none, 0, 1), null, atol=1e-6)
  np.testing.assert_array_equal(combine(cond, null, none, 0, 0), none)
  np.testing.assert_allclose(
    combine(cond, null, none, 3.0, 2.0),
    3 * cond - 3 * null + 2 * null - none,
    atol=1e-5,
  )
  np.testing.assert_allclose(
    combine(cond, null, none, 3.0, 1.0),
    guidance.combine(cond, null, 3.0),
    atol=1e-5,
  )


def test_pairs_are_neighbours_and_come_apart_again():
  cond, null = _velocities()
  both = guidance.pair(cond, null)
  np.testing.assert_array_equal(both[0::2], cond)
  np.testing.assert_array_equal(both[1::2], null)
  for got, want in zip(guidance.unpair(both), (cond, null)):
    np.testing.assert_array_equal(got, want)


def test_rescale_restores_the_deviation_of_each_example():
  cond, null = _velocities()
  guided = guidance.combine(cond, null, 5.0)
  np.testing.assert_array_equal(guidance.rescale(guided, cond, 0.0), guided)
  full = guidance.rescale(guided, cond, 1.0)
  np.testing.assert_allclose(
    full.std(axis=(1, 2, 3)), cond.std(axis=(1, 2, 3)), rtol=1e-5
  )
  half = guidance.rescale(guided, cond, 0.5)
  np.testing.assert_allclose(half, 0.5 * (full + guided), rtol=1e-5)


def test_interval_is_closed():
  times = (0.0, 0.2, 0.5, 0.8, 1.0)
  got = [bool(guidance.is_active(jnp.float32(t), (0.2, 0.8))) for t in times]
  assert got == [False, True, True, True, False]


@pytest.mark.parametrize(
  "settings",
  [
    (-1.0, 0.0, (0.0, 1.0)),
    (2.0, 1.5, (0.0, 1.0)),
    (2.0, 0.0, (0.8, 0.2)),
    (2.0, 0.0, (0.0, 1.5)),
  ],
)
def test_settings_that_mean_nothing_are_refused(settings):
  with pytest.raises(ValueError, match="guidance"):
    guidance.check(*settings)
