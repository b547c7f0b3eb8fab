"""The image sampler: exact on a known flow, and guided as asked."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.diffusion import flow
from unialign_jax.models import mmdit
from unialign_jax.sampling import image

SHAPE = (2, 4, 4, 4)
L, E = 3, 5
TINY = mmdit.MMDiTConfig(
  in_channels=4,
  width=16,
  depth=1,
  num_heads=2,
  text_dim=E,
  vocab_size=11,
  pos_embed_size=8,
  pos_embed_base=4,
  align_depth=1,
  align_hidden=8,
  semantic_dim=8,
)


def _features() -> tuple[jax.Array, jax.Array]:
  text = jax.random.normal(jax.random.key(1), (2, L, E), jnp.float32)
  null = jax.random.normal(jax.random.key(2), (L, E), jnp.float32)
  return text, null


def _flow_to(target):
  """A network whose flow ends in `target(text, cond)`, whatever the noise."""

  def apply(variables, latents, text, t_B, cond_BNHWC=None, *, heads):
    assert heads == ("velocity",)
    x = variables["params"] * target(text, cond_BNHWC)
    velocity = (latents - x) / t_B[:, None, None, None]
    return types.SimpleNamespace(velocity_BHWC=velocity)

  return apply


def _mean_of_text(text, cond):
  del cond
  mean = text.mean(axis=(1, 2))[:, None, None, None]
  return jnp.broadcast_to(mean, (text.shape[0], *SHAPE[1:]))


def _sample(apply, text, null, **overrides):
  settings = {"steps": 3, "guidance": 1.0, "shift": 3.0}
  return image.sample_images(
    apply, jnp.float32(1), text, null, _noise(), **settings | overrides
  )


def _noise(seed=0):
  keys = jax.random.split(jax.random.key(seed), SHAPE[0])
  return image.noise(keys, SHAPE[1:])


@functools.cache
def _tiny():
  """A tiny real network that predicts something: no gate or head is zero."""
  model = mmdit.MMDiT(TINY)
  shapes = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jnp.zeros(SHAPE, jnp.float32),
    _features()[0],
    jnp.zeros((2,), jnp.float32),
  )["params"]
  rng = np.random.default_rng(0)
  return model, jax.tree.map(
    lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype), shapes
  )


@pytest.mark.parametrize("solver", flow.SOLVERS)
def test_the_true_velocity_recovers_each_picture(solver):
  text, _ = _features()
  got = _sample(_flow_to(_mean_of_text), text, None, solver=solver)
  assert got.shape == SHAPE and got.dtype == jnp.float32
  np.testing.assert_allclose(got, _mean_of_text(text, None), atol=1e-5)


def test_guidance_extrapolates_the_picture():
  text, null = _features()
  got = _sample(_flow_to(_mean_of_text), text, null, guidance=4.0)
  want = 4 * _mean_of_text(text, None) - 3 * _mean_of_text(null[None], None)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_null_per_prompt_is_a_negative_prompt():
  text, _ = _features()
  negative = jnp.flip(text, axis=0)
  got = _sample(_flow_to(_mean_of_text), text, negative, guidance=2.0)
  want = 2 * _mean_of_text(text, None) - _mean_of_text(negative, None)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_both_halves_see_the_condition_images():
  text, null = _features()
  cond = jax.random.normal(jax.random.key(3), (2, 1, *SHAPE[1:]), jnp.float32)
  apply = _flow_to(lambda text, cond: cond[:, 0])
  got = _sample(apply, text, null, guidance=4.0, cond_BNHWC=cond)
  np.testing.assert_allclose(got, cond[:, 0], atol=1e-5)


def test_image_guidance_extrapolates_from_no_images():
  text, null = _features()
  cond = jax.random.normal(jax.random.key(3), (2, 1, *SHAPE[1:]), jnp.float32)

  def target(text, cond):
    mean = _mean_of_text(text, None)
    return mean if cond is None else mean + cond[:, 0]

  settings = {"cond_BNHWC": cond, "image_guidance": 2.0}
  for scale in (1.0, 3.0):
    got = _sample(_flow_to(target), text, null, guidance=scale, **settings)
    none = _mean_of_text(null[None], None)
    towards_text = _mean_of_text(text, None) - none
    want = none + 2.0 * cond[:, 0] + scale * towards_text
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_image_guidance_needs_images():
  text, null = _features()
  with pytest.raises(ValueError, match=r"image_guidance.*no condition"):
    _sample(_flow_to(_mean_of_text), text, null, image_guidance=2.0)


@functools.cache
def _tiny_sampler(**overrides):
  model, params = _tiny()
  settings = {"steps": 2, "guidance": 5.0, "shift": 1.0}
  return jax.jit(
    functools.partial(
      image.sample_images, model.apply, params, **settings | overrides
    )
  )


def _sample_tiny(cond_BNHWC=None, **overrides):
  text, null = _features()
  sample = _tiny_sampler(**overrides)
  return sample(text, null, _noise(), cond_BNHWC=cond_BNHWC)


def test_rescale_is_applied():
  """Strong guidance blows the latents up; rescaled, it does not."""
  strong = _sample_tiny(guidance=50.0)
  rescaled = _sample_tiny(guidance=50.0, guidance_rescale=1.0)
  plain = _sample_tiny(guidance=1.0)
  assert strong.std() > 2 * plain.std()
  np.testing.assert_allclose(rescaled.std(), plain.std(), rtol=0.5)


def test_guidance_of_1_is_the_conditional_model_alone():
  """On the real network: a scale of 1 + 1e-6 runs both halves."""
  alone = _sample_tiny(guidance=1.0)
  both = _sample_tiny(guidance=1 + 1e-6)
  np.testing.assert_allclose(alone, both, atol=1e-4)
  assert np.abs(alone - _sample_tiny()).max() > 1e-2


def test_guidance_outside_its_interval_is_off():
  off, on = _sample_tiny(guidance=1.0), _sample_tiny()
  # the times of the two steps are 1 and 0.5
  never, always, second = (
    _sample_tiny(guidance_interval=interval)
    for interval in ((0.1, 0.4), (0.4, 1.0), (0.4, 0.6))
  )
  np.testing.assert_allclose(never, off, atol=1e-4)
  np.testing.assert_allclose(always, on, atol=1e-4)
  assert np.abs(second - off).max() > 1e-2
  assert np.abs(second - on).max() > 1e-2


@pytest.mark.parametrize("guidance,calls", [(1.0, 2), (5.0, 4)])
def test_guidance_of_1_does_not_double_the_batch(guidance, calls):
  rows = []

  def apply(variables, latents, *args, **kwargs):
    rows.append(latents.shape[0])
    return _flow_to(_mean_of_text)(variables, latents, *args, **kwargs)

  text, null = _features()
  _sample(apply, text, null, guidance=guidance)
  assert set(rows) == {calls}


def test_condition_images_steer_the_real_network():
  cond = jax.random.normal(jax.random.key(3), (2, 2, *SHAPE[1:]), jnp.float32)
  outputs = [_sample_tiny(), _sample_tiny(cond), _sample_tiny(-cond)]
  assert all(np.isfinite(x).all() for x in outputs)
  assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
  assert np.abs(outputs[1] - outputs[2]).max() > 1e-3


def test_pictures_of_a_batch_do_not_see_each_other():
  text, null = _features()

  def first_picture(text):
    return jnp.sum(_tiny_sampler()(text, null, _noise())[0])

  grads = np.asarray(jax.grad(first_picture)(text))
  assert np.abs(grads[0]).max() > 0
  np.testing.assert_array_equal(grads[1], 0)


def test_inputs_that_do_not_fit_are_refused():
  text, null = _features()
  apply = _flow_to(_mean_of_text)
  with pytest.raises(ValueError, match="null_features"):
    _sample(apply, text, None, guidance=2.0)
  with pytest.raises(ValueError, match="batch of 2, expected 1"):
    _sample(apply, text[:1], null)
  with pytest.raises(ValueError, match="solver"):
    _sample(apply, text, null, solver="rk4")


def test_noise_is_normal_and_each_row_by_its_key():
  keys = jax.random.split(jax.random.key(0), 4)
  rows = image.noise(keys, (32, 32, 4))
  assert rows.shape == (4, 32, 32, 4) and rows.dtype == jnp.float32
  assert abs(rows.mean()) < 0.02 and abs(rows.std() - 1) < 0.02
  np.testing.assert_array_equal(rows[2:3], image.noise(keys[2:3], (32, 32, 4)))
  assert (rows[0] != rows[1]).all()


def test_latents_shape_of_a_picture():
  make = functools.partial(image.latents_shape, factor=8, channels=16, patch=2)
  assert make(3, 512, 768) == (3, 64, 96, 16)
  with pytest.raises(ValueError, match="multiples of 16"):
    make(1, 512, 520)
