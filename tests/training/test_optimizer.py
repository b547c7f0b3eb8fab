"""AdamW, its schedule, its clipping and its frozen names, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import tiny
from unialign_jax.training import optimizer


def _config(**changes):
  base = {"learning_rate": 0.1, "warmup_steps": 0, "clip_norm": 1e6}
  return optimizer.OptimizerConfig(**(base | changes))


def _params():
  return {
    "head": {"kernel": jnp.asarray([[3.0, -4.0]], jnp.float32)},
    "tail": {"bias": jnp.asarray([1.0], jnp.float32)},
  }


def _run(config, params, gradients):
  make = optimizer.make(config, 100)
  state = make.init(params)
  for gradient in gradients:
    updates, state = make.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def _schedule(**changes):
  schedule = optimizer.learning_rate(_config(**changes), 10)
  return [float(schedule(step)) for step in range(11)]


def test_warmup_rises_by_equal_steps_from_the_first():
  rates = _schedule(learning_rate=0.4, warmup_steps=4)
  np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)
  np.testing.assert_allclose(rates[4:], 0.4, rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1])
def test_short_warmup_starts_at_the_full_rate(warmup):
  np.testing.assert_allclose(_schedule(warmup_steps=warmup), 0.1, rtol=1e-6)


def test_cosine_falls_from_the_warmup_to_zero_at_the_last_step():
  rates = _schedule(schedule="cosine", warmup_steps=2)
  np.testing.assert_allclose(rates[:2], [0.05, 0.1], rtol=1e-6)
  want = 0.05 * (1 + np.cos(np.pi * np.arange(9) / 8))
  np.testing.assert_allclose(rates[2:], want, atol=1e-7)
  assert rates[10] == pytest.approx(0.0, abs=1e-8)
  assert rates[9] > 0


def test_cosine_shorter_than_its_warmup_raises():
  config = _config(schedule="cosine", warmup_steps=10)
  with pytest.raises(ValueError, match=r"config.train.steps: got 10"):
    optimizer.learning_rate(config, 10)


def test_adamw_with_decoupled_decay_against_numpy():
  config = _config(b1=0.8, b2=0.9, eps=1e-3, weight_decay=0.5)
  gradients = [
    jax.tree.map(lambda p, s=s: s * p * p, _params()) for s in (0.5, -2.0, 1.0)
  ]
  got, _ = _run(config, _params(), gradients)

  def reference(p, *gs):
    p, m, v = np.float64(p), 0.0, 0.0
    for i, g in enumerate(gs, 1):
      m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
      direction = (m / (1 - 0.8**i)) / (np.sqrt(v / (1 - 0.9**i)) + 1e-3)
      p = p - 0.1 * (direction + 0.5 * p)
    return p

  want = jax.tree.map(
    reference,
    *jax.tree.map(np.float64, jax.device_get((_params(), *gradients))),
  )
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5), got, want
  )


@pytest.mark.parametrize("clip, factor", [(1.3, 0.1), (13.0, 1.0), (20.0, 1.0)])
def test_clips_the_norm_of_the_whole_tree(clip, factor):
  gradient = {
    "head": {"kernel": jnp.asarray([[3.0, 4.0]], jnp.float32)},
    "tail": {"bias": jnp.asarray([12.0], jnp.float32)},
  }  # norm 13
  _, state = _run(_config(clip_norm=clip, b1=0.9), _params(), [gradient])
  mu = tiny.adam_state(state).mu
  want = jax.tree.map(lambda g: 0.1 * factor * g, gradient)
  tiny.assert_close(mu, want, 1e-6)


def test_frozen_names_stay_and_keep_no_moments():
  config = _config(trainable=("head/.*",))
  gradient = jax.tree.map(jnp.ones_like, _params())
  params, state = _run(config, _params(), [gradient] * 3)
  tiny.assert_same(params["tail"], _params()["tail"])
  assert (
    jnp.abs(params["head"]["kernel"] - _params()["head"]["kernel"]).min() > 0
  )
  for moment in (tiny.adam_state(state).mu, tiny.adam_state(state).nu):
    assert [x.shape for x in jax.tree.leaves(moment)] == [(1, 2)]


def test_frozen_gradients_do_not_count_for_the_clip():
  config = _config(trainable=("head/.*",), clip_norm=5.0)
  gradient = {
    "head": {"kernel": jnp.asarray([[3.0, 4.0]], jnp.float32)},
    "tail": {"bias": jnp.asarray([1e4], jnp.float32)},
  }
  _, state = _run(config, _params(), [gradient])
  (mu,) = jax.tree.leaves(tiny.adam_state(state).mu)
  np.testing.assert_allclose(mu, [[0.3, 0.4]], rtol=1e-5)


def test_names_are_paths():
  assert optimizer.names(_params()) == {
    "head": {"kernel": "head/kernel"},
    "tail": {"bias": "tail/bias"},
  }


def test_pattern_matches_whole_names():
  mask = optimizer.trainable_mask(_params(), (r"head/kern.*", r"tail/bias"))
  assert jax.tree.leaves(mask) == [True, True]
  with pytest.raises(ValueError, match=r"'head' matches no parameter.*head/ke"):
    optimizer.trainable_mask(_params(), ("tail/.*", "head"))


def test_no_pattern_raises():
  with pytest.raises(ValueError, match=r"config.optimizer.trainable: got no"):
    optimizer.trainable_mask(_params(), ())


@pytest.mark.parametrize(
  "change, message",
  [
    ({"schedule": "linear"}, "config.optimizer.schedule: got 'linear'"),
    ({"ema_decay": 1.0}, "config.optimizer.ema_decay: got 1.0"),
    ({"ema_decay": -0.1}, "config.optimizer.ema_decay: got -0.1"),
    ({"clip_norm": 0.0}, "clip_norm 0.0"),
    ({"learning_rate": 0.0}, "learning_rate 0.0"),
    ({"warmup_steps": -1}, "warmup_steps -1"),
  ],
)
def test_bad_config_raises(change, message):
  with pytest.raises(ValueError, match=message):
    _config(**change)
