"""Means between two lines of the log; they hold up nothing."""

import math

import jax
import jax.numpy as jnp
import pytest

from unialign_jax.training import averages as averages_lib


def test_means_are_of_what_is_finite():
  averages = averages_lib.Averages()
  for loss in (1.0, math.nan, 4.0):
    averages.add({"loss": loss, "never": math.inf})
  assert averages.means() == {"loss": 2.5}
  averages.clear()
  assert averages.means() == {}


def test_speed_is_the_median_step_and_the_share_of_waiting():
  averages = averages_lib.Averages()
  for seconds in (1.0, 2.0, 9.0):
    averages.add_time(seconds=seconds, flops=6.0, waited=0.5)
  assert averages.speed(batch_size=4, peak=3.0) == {
    "seconds_per_step": 2.0,
    "examples_per_second": 2.0,
    "data_wait": pytest.approx(1.5 / 12.0),
    "mfu": pytest.approx(18.0 / 12.0 / 3.0),
  }


def test_means_do_not_wait_for_the_step_under_way():
  def step(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 2000, lambda _, y: jnp.tanh(y @ x), x)

  compiled = jax.jit(step).lower(jnp.ones((256, 256))).compile()
  x = jax.block_until_ready(jnp.ones((256, 256)))
  averages = averages_lib.Averages()
  under_way = compiled(x)
  for loss in (1.0, 2.0):
    averages.add({"loss": loss})
  assert averages.means() == {"loss": 1.5}
  assert not under_way.is_ready()
