"""Rectified flow over image latents: the continuous of the two diffusions.

Time runs from t = 0 (clean) to t = 1 (pure noise). With eps ~ N(0, I):

    x_t = (1 - t) x + t eps                                            (1)
    v   = d x_t / dt = eps - x                                         (2)
    L   = E_t mean (v_theta(x_t, t) - v)^2            (3)  the paper's Eq. 1
    x^  = x_t - t v_theta,  so  (x^ - x)^2 = t^2 (v_theta - v)^2       (4)
    x_s = x_t + (s - t) v_theta(x_t, t),  s < t       (5)  one Euler step
    t'  = shift t / (1 + (shift - 1) t)               (6)  timestep shift
    x_s = (s / t) x_t + (1 - s / t) D                 (7)  DPM-Solver++
    D   = x^ + h / (2 h') (x^ - x^')                  (8)  its second order

Training times are logit-normal, t = sigmoid(mean + std z) with z ~ N(0, 1).
Process, logit-normal density and shift are those of SD3 (arXiv 2403.03206,
sections 3.1 and 5.3.2); the space of (4) is what the UniAlignment authors'
code trains in. Eq. 7 is the exponential integrator of DPM-Solver++ (arXiv
2211.01095, algorithm 2, "2M") for alpha = 1 - t and sigma = t: h = lambda_s -
lambda_t is the step in log-SNR, lambda = log((1 - t) / t); a prime marks the
step before. With D = x^ it is Eq. 5 exactly.

The masked diffusion of `masked.py` has the same four verbs: `sample_t`,
`corrupt`, `loss`, `step`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import times

SPACES = ("velocity", "x0")

# (latents_BHWC, t) -> velocity_BHWC
VelocityFn = Callable[[jax.Array, jax.Array], jax.Array]


def sample_t(
  key: jax.Array,
  batch: int,
  *,
  mean: float = 0.0,
  std: float = 1.0,
  num_steps: int = 0,
  antithetic: bool = False,
) -> jax.Array:
  """Logit-normal training times, [B] fp32 in (0, 1].

  Args:
    key: used once.
    batch: B, the global batch.
    mean: of the logit; positive moves towards noise.
    std: of the logit.
    num_steps: 0 for continuous times; n rounds up to the grid k / n with
      k = 1..n (n = 1000 is what the authors train on).
    antithetic: one time per quantile of width 1 / B (`times.uniform`).

  Raises:
    ValueError: for a negative `num_steps` or `std`.
  """
  if num_steps < 0 or std < 0:
    raise ValueError(
      f"flow times: got num_steps = {num_steps} and std = {std}, expected"
      " numbers >= 0 (num_steps = 0 means continuous)."
    )
  u_B = times.uniform(key, batch, antithetic=antithetic)
  # The quantile function is infinite at 0 and 1.
  z_B = jax.scipy.special.ndtri(jnp.clip(u_B, 1e-7, 1.0 - 1e-7))
  t_B = jax.nn.sigmoid(mean + std * z_B)
  if num_steps == 0:
    return t_B
  return jnp.clip(jnp.ceil(t_B * num_steps), 1, num_steps) / num_steps


def corrupt(
  latents_BHWC: jax.Array, eps_BHWC: jax.Array, t_B: jax.Array
) -> jax.Array:
  """Noisy latents at time t, Eq. 1; computed in the dtype of the latents."""
  t = _per_example(t_B, latents_BHWC)
  return (1.0 - t) * latents_BHWC + t * eps_BHWC.astype(latents_BHWC.dtype)


def loss(
  velocity_BHWC: jax.Array,
  latents_BHWC: jax.Array,
  eps_BHWC: jax.Array,
  t_B: jax.Array,
  *,
  space: str = "velocity",
) -> jax.Array:
  """Squared error, [B] fp32: the mean over the H x W x C elements of each.

  Args:
    velocity_BHWC: the prediction at time t.
    latents_BHWC: the clean target.
    eps_BHWC: the noise that made x_t.
    t_B: diffusion times; only "x0" reads them.
    space: "velocity" is Eq. 3; "x0" is the error of the implied clean image,
      Eq. 4, which weighs Eq. 3 by t^2.

  Raises:
    ValueError: for an unknown space.
  """
  if space not in SPACES:
    raise ValueError(
      f"config.loss.flow_space: got {space!r}, expected one of {SPACES}."
    )
  target = eps_BHWC.astype(jnp.float32) - latents_BHWC.astype(jnp.float32)
  error = velocity_BHWC.astype(jnp.float32) - target
  loss_B = jnp.mean(jnp.square(error), axis=range(1, error.ndim))
  return loss_B * jnp.square(t_B) if space == "x0" else loss_B


def step(
  velocity_BHWC: jax.Array,
  latents_BHWC: jax.Array,
  t: jax.Array | float,
  t_next: jax.Array | float,
) -> jax.Array:
  """One Euler step from time t to t_next, Eq. 5; keeps the latents' dtype."""
  dtype = latents_BHWC.dtype
  dt = jnp.asarray(t_next - t, dtype)
  return latents_BHWC + dt * velocity_BHWC.astype(dtype)


class State(NamedTuple):
  """Where a solver is, and what it sees there.

  Attributes:
    latents_BHWC: at the current time.
    clean_BHWC: x^ of Eq. 4, the clean image that the last step implied.
  """

  latents_BHWC: jax.Array
  clean_BHWC: jax.Array


def start(noise_BHWC: jax.Array) -> State:
  """The state at the first time, before any step."""
  return State(noise_BHWC, jnp.zeros_like(noise_BHWC))


def euler(
  velocity_fn: VelocityFn,
  state: State,
  t: jax.Array,
  t_next: jax.Array,
  weight: jax.Array,
) -> State:
  """First order: one evaluation of the velocity."""
  del weight
  latents = state.latents_BHWC
  return _along(velocity_fn(latents, t), latents, t, t_next)


def heun(
  velocity_fn: VelocityFn,
  state: State,
  t: jax.Array,
  t_next: jax.Array,
  weight: jax.Array,
) -> State:
  """Second order: the mean of the velocities at both ends of the step."""
  del weight
  latents = state.latents_BHWC
  velocity = velocity_fn(latents, t)
  end = step(velocity, latents, t, t_next)
  average = 0.5 * (velocity + velocity_fn(end, t_next))
  return _along(average, latents, t, t_next)


def dpmpp_2m(
  velocity_fn: VelocityFn,
  state: State,
  t: jax.Array,
  t_next: jax.Array,
  weight: jax.Array,
) -> State:
  """Second order from one evaluation and the one before, Eq. 7 and 8.

  Args:
    velocity_fn: (latents, t) -> velocity.
    state: at time t.
    t: current time.
    t_next: smaller time.
    weight: h / (2 h') of Eq. 8; 0 is Euler's step.
  """
  latents = state.latents_BHWC
  dtype = latents.dtype
  clean = _clean(velocity_fn(latents, t), latents, t)
  target = clean + weight.astype(dtype) * (clean - state.clean_BHWC)
  ratio = (t_next / t).astype(dtype)
  return State(ratio * latents + (1 - ratio) * target, clean)


_STEPS = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
SOLVERS = tuple(_STEPS)


def evaluations(solver: str, steps: int) -> int:
  """How often `integrate` asks for the velocity in `steps` steps."""
  return 2 * steps - 1 if solver == "heun" else steps


def timesteps(steps: int, shift: float) -> jax.Array:
  """Sampling times [steps + 1], evenly spaced from 1 to 0, then Eq. 6.

  A shift above 1 spends more steps near the noise, as large images need.

  Raises:
    ValueError: unless steps >= 1 and shift > 0.
  """
  if steps < 1 or shift <= 0:
    raise ValueError(
      f"sampling times: got steps = {steps} and shift = {shift}, expected"
      " steps >= 1 and shift > 0 (1 for no shift, 3 in SD3)."
    )
  t = jnp.linspace(1.0, 0.0, steps + 1, dtype=jnp.float32)
  return shift * t / (1.0 + (shift - 1.0) * t)


def weights(times_S: jax.Array) -> jax.Array:
  """h / (2 h') of Eq. 8 for each step; 0 where it has to be Euler's.

  That is the first step, which has none before it, and the last, to t = 0.
  From t = 1 the first h' is infinite, so that the second step is Euler's too.

  Args:
    times_S: all times of a solution, [steps + 1].
  """
  inner = times_S[:-1]
  h = jnp.diff(jnp.log1p(-inner) - jnp.log(inner))  # of all but the last step
  weights = jnp.zeros(times_S.size - 1, jnp.float32)
  return weights.at[1:-1].set(0.5 * h[1:] / h[:-1])


def integrate(
  velocity_fn: VelocityFn,
  noise_BHWC: jax.Array,
  times_S: jax.Array,
  *,
  solver: str = "euler",
) -> jax.Array:
  """Follows the velocity through `times_S`, in one `lax.scan`.

  Args:
    velocity_fn: (latents, t) -> velocity.
    noise_BHWC: at times_S[0].
    times_S: decreasing, as `timesteps` returns.
    solver: one of `SOLVERS`.

  Returns:
    latents_BHWC at times_S[-1].

  Raises:
    ValueError: for an unknown solver.
  """
  state = advance(
    velocity_fn, start(noise_BHWC), times_S, weights(times_S), solver=solver
  )
  return state.latents_BHWC


def advance(
  velocity_fn: VelocityFn,
  state: State,
  times_S: jax.Array,
  weights_S: jax.Array,
  *,
  solver: str,
  to_the_end: bool = True,
) -> State:
  """A part of `integrate`: stretches in a row are the same as the whole.

  The last step is Euler's with every solver: a second-order step would ask
  for the velocity at t = 0, where the network was only ever trained to read
  images, or for lambda there, which is infinite. The order of the whole stays
  that of the solver.

  Args:
    velocity_fn: (latents, t) -> velocity.
    state: at times_S[0].
    times_S: n + 1 of the times.
    weights_S: `weights` of the n steps between them.
    solver: one of `SOLVERS`.
    to_the_end: whether the last of these steps is the last of all.

  Raises:
    ValueError: for an unknown solver.
  """
  if solver not in SOLVERS:
    raise ValueError(f"solver: got {solver!r}, expected one of {SOLVERS}.")

  def body(state: State, now: tuple) -> tuple[State, None]:
    return _STEPS[solver](velocity_fn, state, *now), None

  steps = (times_S[:-1], times_S[1:], weights_S)
  if not (solver == "heun" and to_the_end):
    return jax.lax.scan(body, state, steps)[0]
  before, last = ([x[part] for x in steps] for part in (slice(-1), -1))
  state, _ = jax.lax.scan(body, state, tuple(before))
  return euler(velocity_fn, state, *last)


def _along(
  velocity_BHWC: jax.Array,
  latents_BHWC: jax.Array,
  t: jax.Array,
  t_next: jax.Array,
) -> State:
  """Eq. 5 and 4 with one velocity."""
  return State(
    step(velocity_BHWC, latents_BHWC, t, t_next),
    _clean(velocity_BHWC, latents_BHWC, t),
  )


def _clean(
  velocity_BHWC: jax.Array, latents_BHWC: jax.Array, t: jax.Array
) -> jax.Array:
  dtype = latents_BHWC.dtype
  return latents_BHWC - t.astype(dtype) * velocity_BHWC.astype(dtype)


def _per_example(t_B: jax.Array, latents: jax.Array) -> jax.Array:
  """t_B shaped to broadcast against the latents, in their dtype."""
  return t_B.astype(latents.dtype).reshape(-1, *[1] * (latents.ndim - 1))
