"""Alignment losses and the weighted sum, against plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import losses

B, D = 6, 16


def _pair(seed: int = 0) -> tuple[jax.Array, jax.Array]:
  a, b = jax.random.normal(jax.random.key(seed), (2, B, 3, D), jnp.float32)
  return losses.pool(a), losses.pool(b)


def _naive_info_nce(image, text, temperature, direction):
  image, text = np.asarray(image, np.float64), np.asarray(text, np.float64)
  n = len(image)
  out = []
  for i in range(n):
    positive = image[i] @ text[i] / temperature
    texts = [np.exp(image[i] @ text[j] / temperature) for j in range(n)]
    images = [np.exp(image[j] @ text[i] / temperature) for j in range(n)]
    forward = np.log(sum(texts)) - positive
    backward = np.log(sum(images)) - positive
    both = direction == "both"
    out.append((forward + backward) / 2 if both else forward)
  return np.array(out)


def test_pool_is_the_unit_mean_in_fp32():
  tokens = jax.random.normal(jax.random.key(0), (B, 5, D), jnp.bfloat16)
  got = losses.pool(tokens)
  mean = np.asarray(tokens, np.float64).mean(1)
  want = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_pool_of_zeros_has_a_finite_gradient():
  zeros = jnp.zeros((1, 2, 4), jnp.float32)
  grads = jax.grad(lambda x: losses.pool(x).sum())(zeros)
  assert np.isfinite(grads).all()


@pytest.mark.parametrize("direction", losses.CROSS_DIRECTIONS)
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_against_numpy(direction, temperature):
  image, text = _pair()
  got = losses.info_nce(
    image, text, temperature=temperature, direction=direction
  )
  want = _naive_info_nce(image, text, temperature, direction)
  assert got.shape == (B,) and got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_the_two_directions_differ_and_both_is_symmetric():
  image, text = _pair()
  one_way = losses.info_nce(image, text, direction="image_to_text")
  two_way = losses.info_nce(image, text, direction="both")
  assert np.abs(one_way - two_way).max() > 1e-2
  np.testing.assert_allclose(two_way, losses.info_nce(text, image), rtol=1e-5)


def test_aligned_pairs_cost_less_than_shuffled_ones():
  image, text = _pair()
  aligned = losses.info_nce(image, image).mean()
  assert aligned < losses.info_nce(image, text).mean()
  assert aligned < losses.info_nce(image, jnp.roll(image, 1, 0)).mean()


def test_every_row_is_a_negative_of_every_other():
  image, text = _pair()
  jacobian = jax.jacrev(
    lambda x: losses.info_nce(image, x, direction="image_to_text")
  )(text)
  assert (np.abs(jacobian).sum(-1) > 0).all()


@pytest.mark.parametrize("direction", losses.CROSS_DIRECTIONS)
def test_groups_keep_their_negatives_to_themselves(direction):
  image, text = _pair()
  got = losses.info_nce(image, text, direction=direction, group_size=3)
  parts = [
    losses.info_nce(image[i : i + 3], text[i : i + 3], direction=direction)
    for i in (0, 3)
  ]
  np.testing.assert_allclose(got, np.concatenate(parts), rtol=1e-5)
  assert (got < losses.info_nce(image, text, direction=direction)).all()
  with pytest.raises(ValueError, match="divisor of the global batch of 6"):
    losses.info_nce(image, text, group_size=4)


def test_info_nce_gradient_against_finite_differences():
  image, text = _pair()

  def total(x):
    return losses.info_nce(x, text, temperature=0.5).sum()

  direction = _pair(1)[0]
  got = jax.jvp(total, (image,), (direction,))[1]
  step = 1e-3 * np.asarray(direction, np.float64)
  ends = [
    _naive_info_nce(image + sign * step, text, 0.5, "both").sum()
    for sign in (1, -1)
  ]
  np.testing.assert_allclose(got, (ends[0] - ends[1]) / 2e-3, rtol=1e-3)


def test_info_nce_is_stable_where_a_plain_exponential_is_not():
  image, _ = _pair()
  value, grads = jax.value_and_grad(
    lambda x: losses.info_nce(x, -image, temperature=1e-3).sum()
  )(image)
  assert np.isfinite(value) and np.isfinite(grads).all()


@pytest.mark.parametrize("form", losses.INTRINSIC_FORMS)
def test_intrinsic_against_numpy(form):
  h, mid = jax.random.normal(jax.random.key(0), (2, B, D), jnp.float32)
  hn, mn = np.asarray(h, np.float64), np.asarray(mid, np.float64)
  cosine = (hn * mn).sum(-1)
  cosine /= np.linalg.norm(hn, axis=-1) * np.linalg.norm(mn, axis=-1)
  want = 1 - cosine if form == "one_minus_cosine" else -cosine
  got = losses.intrinsic(h.astype(jnp.float16), mid, form=form)
  np.testing.assert_allclose(got, want, atol=2e-3)
  np.testing.assert_allclose(
    losses.intrinsic(h, mid, form=form), want, atol=1e-5
  )


def test_both_intrinsic_forms_have_the_same_gradient():
  h, mid = jax.random.normal(jax.random.key(0), (2, B, D), jnp.float32)
  grads = [
    jax.grad(lambda x, form=form: losses.intrinsic(h, x, form=form).sum())(mid)
    for form in losses.INTRINSIC_FORMS
  ]
  np.testing.assert_array_equal(*grads)
  assert np.abs(grads[0]).max() > 0


def test_intrinsic_by_patch_is_the_mean_over_the_patches():
  h, mid = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
  by_patch = [losses.intrinsic(h[:, i], mid[:, i]) for i in range(5)]
  np.testing.assert_allclose(
    losses.intrinsic(h, mid), np.mean(by_patch, axis=0), rtol=1e-5
  )


def test_intrinsic_ignores_length_and_is_zero_when_parallel():
  h = jax.random.normal(jax.random.key(0), (B, D), jnp.float32)
  np.testing.assert_allclose(losses.intrinsic(h, 7.0 * h), 0, atol=1e-6)
  np.testing.assert_allclose(losses.intrinsic(h, -0.1 * h), 2, atol=1e-6)


def _terms() -> dict[str, jax.Array]:
  names = losses.LossConfig().weights
  return {
    name: jnp.arange(4, dtype=jnp.float32) + i for i, name in enumerate(names)
  }


def test_combine_weighs_the_means_as_the_paper():
  total, metrics = losses.combine(_terms(), losses.LossConfig())
  want = 1.5 + 0.2 * 2.5 + 0.05 * 3.5 + 0.1 * (4.5 + 5.5)
  np.testing.assert_allclose(total, want, rtol=1e-6)
  assert set(metrics) == {
    "loss/flow",
    "loss/text",
    "loss/cross",
    "loss/intrinsic_image",
    "loss/intrinsic_text",
    "loss/total",
  }
  np.testing.assert_allclose(metrics["loss/text"], 2.5)
  np.testing.assert_allclose(metrics["loss/total"], total)


@pytest.mark.parametrize("name", list(losses.LossConfig().weights))
def test_each_weight_moves_the_total(name):
  field = f"{name.split('_')[0]}_weight"
  config = dataclasses.replace(losses.LossConfig(), **{field: 3.0})
  term_grad = jax.grad(
    lambda x: losses.combine(_terms() | {name: x}, config)[0]
  )(jnp.zeros((4,), jnp.float32))
  np.testing.assert_allclose(term_grad, 3.0 / 4, rtol=1e-6)


def test_a_term_may_be_absent_only_without_weight():
  terms = _terms()
  del terms["cross"]
  with pytest.raises(ValueError, match=r"missing: \['cross'\]"):
    losses.combine(terms, losses.LossConfig())
  total, metrics = losses.combine(terms, losses.LossConfig(cross_weight=0.0))
  assert "loss/cross" not in metrics and np.isfinite(total)
  with pytest.raises(ValueError, match=r"unknown: \['clip'\]"):
    losses.combine(_terms() | {"clip": terms["flow"]}, losses.LossConfig())


@pytest.mark.parametrize(
  "field,value",
  [
    ("flow_space", "eps"),
    ("cross_direction", "text_to_image"),
    ("intrinsic_form", "l2"),
    ("cross_temperature", 0.0),
    ("cross_group_size", 1),
    ("cross_group_size", -2),
  ],
)
def test_unknown_choices_are_refused_with_their_key(field, value):
  with pytest.raises(ValueError, match=f"config.loss.{field}"):
    losses.LossConfig(**{field: value})


def test_shapes_that_differ_are_refused():
  image, text = _pair()
  with pytest.raises(ValueError, match="one row per example"):
    losses.info_nce(image, text[:2])
  with pytest.raises(ValueError, match="one row per example"):
    losses.intrinsic(image[:, :3], text)
