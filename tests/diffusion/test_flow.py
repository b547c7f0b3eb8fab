"""Rectified flow: properties, information flow, and the solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.diffusion import flow

SHAPE = (3, 4, 4, 2)


def _arrays(*names: str) -> list[jax.Array]:
  return [
    jax.random.normal(jax.random.key(i), SHAPE, jnp.float32)
    for i, _ in enumerate(names)
  ]


def _quantile(t_B: jax.Array) -> np.ndarray:
  """The uniform number behind each standard logit-normal time."""
  logit = jnp.log(t_B) - jnp.log1p(-t_B)
  return np.asarray(jax.scipy.stats.norm.cdf(logit))


def test_corrupt_is_identity_at_0_and_noise_at_1():
  x, eps = _arrays("x", "eps")
  t_B = jnp.array([0.0, 1.0, 0.25], jnp.float32)
  noisy = flow.corrupt(x, eps, t_B)
  np.testing.assert_array_equal(noisy[0], x[0])
  np.testing.assert_array_equal(noisy[1], eps[1])
  np.testing.assert_allclose(noisy[2], 0.75 * x[2] + 0.25 * eps[2], rtol=1e-6)


def test_velocity_is_the_time_derivative_of_corrupt():
  x, eps = _arrays("x", "eps")
  t_B = jnp.array([0.1, 0.5, 0.9], jnp.float32)
  _, derivative = jax.jvp(
    lambda t: flow.corrupt(x, eps, t), (t_B,), (jnp.ones_like(t_B),)
  )
  np.testing.assert_allclose(flow.loss(derivative, x, eps, t_B), 0, atol=1e-12)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("mean,std", [(0.0, 1.0), (0.7, 0.5)])
def test_times_are_logit_normal(mean, std, antithetic):
  t_B = flow.sample_t(
    jax.random.key(0), 20_000, mean=mean, std=std, antithetic=antithetic
  )
  assert t_B.dtype == jnp.float32
  assert t_B.min() > 0 and t_B.max() < 1
  logit = np.log(t_B) - np.log1p(-t_B)
  assert abs(logit.mean() - mean) < 0.02
  assert abs(logit.std() - std) < 0.02


def test_antithetic_times_cover_every_quantile_once():
  B = 64
  strata = np.floor(
    _quantile(flow.sample_t(jax.random.key(3), B, antithetic=True)) * B + 1e-3
  )
  assert np.unique(strata % B).size >= B - 1  # one may sit on a boundary
  independent = _quantile(flow.sample_t(jax.random.key(3), B)) * B
  assert np.unique(np.floor(independent)).size < 0.8 * B


def test_antithetic_times_are_unbiased_at_each_position_of_the_batch():
  keys = jax.random.split(jax.random.key(0), 2_000)
  draw = jax.vmap(lambda k: flow.sample_t(k, 4, antithetic=True))
  u = _quantile(draw(keys))
  np.testing.assert_allclose(u.mean(0), 0.5, atol=0.03)
  np.testing.assert_allclose(u.std(0), 12**-0.5, atol=0.03)


def test_grid_times_round_up_to_multiples():
  key = jax.random.key(1)
  grid = np.asarray(flow.sample_t(key, 5_000, num_steps=10))
  continuous = np.asarray(flow.sample_t(key, 5_000))
  np.testing.assert_allclose(grid * 10, np.round(grid * 10), atol=1e-5)
  assert set(np.round(grid * 10)) <= set(range(1, 11))
  assert np.all((grid - continuous > -1e-6) & (grid - continuous < 0.1 + 1e-6))


def test_impossible_time_settings_are_refused():
  with pytest.raises(ValueError, match="num_steps = -1"):
    flow.sample_t(jax.random.key(0), 2, num_steps=-1)


def test_losses_of_both_spaces_against_numpy():
  x, eps, v = _arrays("x", "eps", "v")
  t_B = jnp.array([0.1, 0.6, 1.0], jnp.float32)
  xn, en, vn = (np.asarray(a, np.float64) for a in (x, eps, v))
  want = ((vn - (en - xn)) ** 2).reshape(3, -1).mean(1)
  np.testing.assert_allclose(flow.loss(v, x, eps, t_B), want, rtol=1e-5)

  t = np.asarray(t_B, np.float64)[:, None, None, None]
  clean = (1 - t) * xn + t * en - t * vn  # what the velocity implies
  want = ((clean - xn) ** 2).reshape(3, -1).mean(1)
  got = flow.loss(v, x, eps, t_B, space="x0")
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_loss_is_fp32_and_refuses_other_spaces():
  x, eps, v = _arrays("x", "eps", "v")
  t_B = jnp.full((3,), 0.5, jnp.float32)
  assert flow.loss(v.astype(jnp.bfloat16), x, eps, t_B).dtype == jnp.float32
  with pytest.raises(ValueError, match="flow_space"):
    flow.loss(v, x, eps, t_B, space="eps")


def test_examples_do_not_see_each_other():
  x, eps, v = _arrays("x", "eps", "v")
  t_B = jnp.full((3,), 0.5, jnp.float32)
  grads = jax.jacrev(lambda v: flow.loss(v, x, eps, t_B))(v)  # [3, *SHAPE]
  seen = np.abs(np.asarray(grads)).sum((2, 3, 4)) > 0
  np.testing.assert_array_equal(seen, np.eye(3, dtype=bool))


def test_timesteps_run_from_1_to_0_by_the_shift_formula():
  np.testing.assert_allclose(
    flow.timesteps(4, 1.0), [1, 0.75, 0.5, 0.25, 0], atol=1e-7
  )
  np.testing.assert_allclose(
    flow.timesteps(4, 3.0), [1, 0.9, 0.75, 0.5, 0], atol=1e-6
  )
  for steps, shift in ((0, 1.0), (4, 0.0)):
    with pytest.raises(ValueError, match="shift > 0"):
      flow.timesteps(steps, shift)


@pytest.mark.parametrize("solver", flow.SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_true_velocity_recovers_the_image(solver, steps):
  x, eps = _arrays("x", "eps")

  def velocity(noisy, t):  # of the flow whose data is the one point x
    return (noisy - x) / t

  times = flow.timesteps(steps, 3.0)
  got = flow.integrate(velocity, eps, times, solver=solver)
  np.testing.assert_allclose(got, x, atol=1e-5)


def test_heun_is_second_order_and_euler_first():
  start = jnp.ones((1, 1, 1, 1), jnp.float32)

  def error(solver: str, steps: int) -> float:
    times = flow.timesteps(steps, 1.0)
    end = flow.integrate(lambda x, t: 2.0 * t * x, start, times, solver=solver)
    return abs(float(end[0, 0, 0, 0]) - np.exp(-1.0))

  assert 1.8 < error("euler", 16) / error("euler", 32) < 2.2
  assert error("heun", 16) / error("heun", 32) > 3.5
  assert error("heun", 32) < 0.2 * error("euler", 32)


def test_dpmpp_2m_is_second_order_from_one_evaluation_a_step():
  """On normal data, whose flow is known: it ends where it began."""
  start = jnp.ones((1, 1, 1, 1), jnp.float32)

  def velocity(x, t):
    return x * (2 * t - 1) / ((1 - t) ** 2 + t**2)

  def error(solver: str, steps: int) -> float:
    times = flow.timesteps(steps, 1.0)
    end = flow.integrate(velocity, start, times, solver=solver)
    return abs(float(end[0, 0, 0, 0]) - 1.0)

  assert error("dpmpp_2m", 64) / error("dpmpp_2m", 128) > 3
  assert error("euler", 64) / error("euler", 128) < 2.5
  assert error("dpmpp_2m", 32) < 0.1 * error("euler", 32)
  assert [flow.evaluations(s, 8) for s in flow.SOLVERS] == [8, 15, 8]


def test_dpmpp_2m_begins_and_ends_as_euler():
  """One or two steps have no step before them that counts."""
  start = jnp.ones((1, 1, 1, 1), jnp.float32)
  for steps, same in ((1, True), (3, True), (4, False)):
    times = flow.timesteps(steps, 1.0)
    ends = [
      flow.integrate(lambda x, t: 2.0 * t * x, start, times, solver=solver)
      for solver in ("euler", "dpmpp_2m")
    ]
    assert np.allclose(*ends, rtol=1e-6) == same, steps


@pytest.mark.parametrize("solver", flow.SOLVERS)
def test_stretches_in_a_row_are_the_whole(solver):
  x, eps = _arrays("x", "eps")

  def velocity(noisy, t):
    return jnp.sin(3 * noisy) + t * (eps - x)

  times = flow.timesteps(7, 2.0)
  want = flow.integrate(velocity, eps, times, solver=solver)
  weights, state = flow.weights(times), flow.start(eps)
  for first, last in ((0, 3), (3, 4), (4, 7)):
    state = flow.advance(
      velocity,
      state,
      times[first : last + 1],
      weights[first:last],
      solver=solver,
      to_the_end=last == 7,
    )
  np.testing.assert_allclose(state.latents_BHWC, want, atol=1e-6)


@pytest.mark.parametrize("solver", flow.SOLVERS)
def test_the_state_shows_the_clean_image(solver):
  x, eps = _arrays("x", "eps")
  times = flow.timesteps(5, 1.0)
  state = flow.advance(
    lambda noisy, t: (noisy - x) / t,
    flow.start(eps),
    times[:3],
    flow.weights(times)[:2],
    solver=solver,
    to_the_end=False,
  )
  np.testing.assert_allclose(state.clean_BHWC, x, atol=1e-5)
  assert np.abs(state.latents_BHWC - x).max() > 0.1


def test_heun_never_asks_for_the_velocity_at_0():
  asked = []

  def velocity(x, t):
    jax.debug.callback(lambda t: asked.append(float(t)), t)
    return x

  x = jnp.ones((1, 1, 1, 1), jnp.float32)
  flow.integrate(velocity, x, flow.timesteps(3, 1.0), solver="heun")
  jax.effects_barrier()
  assert len(asked) == 5 and min(asked) > 0


def test_unknown_solver_is_refused():
  with pytest.raises(ValueError, match="euler"):
    flow.integrate(
      lambda x, t: x, _arrays("x")[0], flow.timesteps(2, 1.0), solver="rk4"
    )
