"""The objective: draws, the two passes, the four terms, the gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import tiny
from unialign_jax import losses
from unialign_jax.diffusion import flow
from unialign_jax.models import mmdit
from unialign_jax.training import objective as objective_lib

B, L, N = 8, tiny.TEXT_LENGTH, 2
DEFAULT = objective_lib.DiffusionConfig()
AUTHORS = {
  "flow_space": "x0",
  "cross_group_size": 4,
  "cross_direction": "image_to_text",
  "intrinsic_form": "negative_cosine",
}


@functools.cache
def _draw_with(config):
  """A compiled draw: as separate operations it takes much longer."""
  return tiny.jit(
    functools.partial(objective_lib.draw, config=config, mask_id=tiny.MASK_ID)
  )


def _draw(batch, step=0, seed=0, **changes):
  config = dataclasses.replace(DEFAULT, **changes)
  return _draw_with(config)(batch, seed=seed, step=step)


def _noise(drawn, batch):
  """What the posterior sample was made with."""
  mean, std = (np.float32(batch[f"latents_{n}"]) for n in ("mean", "std"))
  return (np.asarray(drawn.latents_BHWC) - mean) / std


@pytest.fixture(scope="module")
def model():
  return mmdit.MMDiT(tiny.model_config())


@pytest.fixture(scope="module")
def params(model):
  return tiny.params(model)


@pytest.fixture(scope="module")
def compiled(model):
  """accumulation and changed losses -> compiled gradient."""

  @functools.cache
  def compute(accumulation=1, **loss):
    objective = tiny.objective(model, accumulation=accumulation, **loss)
    return tiny.jit(objective.gradient)

  return compute


@pytest.fixture(scope="module")
def gradient(compiled, params):
  """The gradient and metrics of the stored batch."""

  @functools.cache
  def compute(accumulation=1, num_cond=0, **loss):
    drawn = _draw(tiny.batch(B, num_cond=num_cond))
    return compiled(accumulation, **loss)(params, tiny.frozen(), drawn)

  return compute


@pytest.fixture(scope="module")
def terms(model, params):
  """The default per-example terms and the embeddings of the stored batch."""
  objective = tiny.objective(model)
  return tiny.jit(objective.terms)(params, tiny.frozen(), _draw(tiny.batch(B)))


# Draws.


def test_draw_repeats_and_changes_with_step_and_seed():
  batch = tiny.batch(B, stored=False)
  first = _draw(batch)
  tiny.assert_same(_draw(batch), first)
  for other in (_draw(batch, step=1), _draw(batch, seed=1)):
    for name in (
      "latents_BHWC",
      "eps_BHWC",
      "t_B",
      "masked_ids_BL",
      "text_t_B",
    ):
      assert (getattr(other, name) != getattr(first, name)).any(), name


def test_draws_of_one_step_are_independent():
  drawn = _draw(tiny.batch(B, stored=False))
  batch = tiny.batch(B)
  noise = _noise(drawn, batch)
  correlation = np.corrcoef(np.ravel(noise), np.ravel(drawn.eps_BHWC))[0, 1]
  assert abs(correlation) < 0.15
  assert not np.allclose(np.sort(drawn.t_B), np.sort(drawn.text_t_B), atol=1e-3)


def test_latents_are_a_sample_of_the_posterior():
  batch = tiny.batch(64) | {"latents_std": np.full((64, 4, 4, 8), 0.5, "f2")}
  drawn = _draw(batch)
  noise = _noise(drawn, batch)
  assert drawn.latents_BHWC.dtype == jnp.float32
  assert float(noise.mean()) == pytest.approx(0, abs=0.05)
  assert float(noise.std()) == pytest.approx(1, abs=0.05)


def test_stored_masks_are_used_as_they_came():
  batch = tiny.batch(B)
  drawn = _draw(batch)
  np.testing.assert_array_equal(drawn.masked_ids_BL, batch["masked_ids"])
  np.testing.assert_array_equal(drawn.is_masked_BL, batch["is_masked"])
  np.testing.assert_array_equal(drawn.text_t_B, batch["masked_t"])


def test_online_masks_obey_the_label_mask():
  batch = tiny.batch(64, stored=False)
  drawn = _draw(batch)
  assert drawn.is_masked_BL.any()
  assert not (drawn.is_masked_BL & ~batch["label_mask"]).any()
  want = np.where(drawn.is_masked_BL, tiny.MASK_ID, batch["caption_ids"])
  np.testing.assert_array_equal(drawn.masked_ids_BL, want)
  late, early = drawn.text_t_B > 0.8, drawn.text_t_B < 0.2
  rate = drawn.is_masked_BL.mean(axis=1)
  assert rate[late].mean() > 0.6 and rate[early].mean() < 0.3


def test_times_follow_the_config():
  batch = tiny.batch(64, stored=False)
  grid = 1000.0 * np.asarray(_draw(batch, flow_t_grid=1000).t_B, np.float64)
  np.testing.assert_allclose(grid, np.round(grid), atol=1e-3)
  assert _draw(batch, flow_t_mean=3.0, flow_t_std=0.1).t_B.min() > 0.9
  strata = np.floor(np.sort(_draw(batch).text_t_B) * 64)
  assert len(set(strata)) > 60
  loose = np.floor(np.sort(_draw(batch, text_antithetic=False).text_t_B) * 64)
  assert len(set(loose)) < 55
  assert _draw(batch, text_t_min=0.9).text_t_B.min() >= 0.9
  median = [
    np.mean(_draw(batch, i, flow_antithetic=True).t_B < 0.5) for i in (0, 1)
  ]
  np.testing.assert_allclose(median, 0.5, atol=1.5 / 64)


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_prompts_are_dropped_at_their_rate(rate):
  drawn = _draw(tiny.batch(4000, stored=False), prompt_dropout=rate)
  # Six standard deviations.
  spread = 6 * (rate * (1 - rate) / 4000) ** 0.5
  assert float(drawn.is_dropped_B.mean()) == pytest.approx(rate, abs=spread)


def test_rate_0_never_drops_a_prompt():
  drawn = _draw(tiny.batch(4000, stored=False), prompt_dropout=0.0)
  assert not drawn.is_dropped_B.any()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "online"])
def test_dropped_prompts_become_the_null_features(stored):
  batch, frozen = tiny.batch(16, stored=stored), tiny.frozen()
  drawn = _draw(batch, prompt_dropout=0.5)
  dropped = np.asarray(drawn.is_dropped_B)
  assert 0 < dropped.sum() < 16
  table = np.asarray(frozen.text_encoder)
  prompt, masked_text = objective_lib.text_features(
    drawn, frozen, lambda params, ids: params[ids]
  )
  null = np.asarray(frozen.null_text_LE).astype(prompt.dtype)
  want = batch["prompt_features"] if stored else table[batch["prompt_ids"]]
  for i in range(16):
    np.testing.assert_array_equal(prompt[i], null if dropped[i] else want[i])
  masked_want = (
    batch["masked_features"] if stored else table[drawn.masked_ids_BL]
  )
  np.testing.assert_array_equal(masked_text, masked_want)


@pytest.mark.parametrize(
  "name, value",
  [
    ("prompt_dropout", -0.1),
    ("prompt_dropout", 1.0),
    ("text_t_min", 0.0),  # The weight 1 / t would have no bound.
    ("text_t_min", 1.0),
  ],
)
def test_bad_config_raises(name, value):
  with pytest.raises(ValueError, match=rf"config.diffusion.*{name} {value}"):
    objective_lib.DiffusionConfig(**{name: value})


# The two passes.


def test_what_each_pass_is_given(model):
  calls = []

  def spy(variables, latents, text, t, cond_BNHWC=None, heads=()):
    calls.append((latents, text, t, cond_BNHWC, set(heads)))
    shapes = {"image_mid": (B, 16), "text_mid": (B, 16)}
    shapes |= {"image_out": (B, 4, 32), "text_out": (B, L, 32)}
    shapes |= {"velocity": latents.shape, "logits": (B, L, 20)}
    zeros = {name: jnp.zeros(shapes[name], jnp.float32) for name in heads}
    return mmdit.ModelOutput(*(zeros.get(name) for name in mmdit.HEADS))

  objective = dataclasses.replace(tiny.objective(model), model_apply=spy)
  batch = tiny.batch(B, num_cond=N)
  drawn = _draw(batch, prompt_dropout=0.0)
  objective.terms({}, tiny.frozen(), drawn)
  image, text = calls

  t = np.asarray(drawn.t_B).reshape(-1, 1, 1, 1)
  noisy = (1 - t) * drawn.latents_BHWC + t * drawn.eps_BHWC
  np.testing.assert_allclose(image[0], noisy, atol=1e-6)
  np.testing.assert_array_equal(image[1], batch["prompt_features"])
  np.testing.assert_array_equal(image[2], drawn.t_B)
  np.testing.assert_array_equal(image[3], batch["cond_latents"])
  assert image[4] == {"velocity", "image_out", "image_mid"}

  np.testing.assert_array_equal(text[0], drawn.latents_BHWC)
  np.testing.assert_array_equal(text[1], batch["masked_features"])
  np.testing.assert_array_equal(text[2], np.zeros(B))
  assert text[3] is None
  assert text[4] == {"logits", "text_out", "text_mid"}


def test_features_by_patch_meet_the_tokens_one_by_one(model, params):
  batch = tiny.batch(B, by_patch=True)
  drawn = _draw(batch, prompt_dropout=0.0)
  values, _ = tiny.jit(tiny.objective(model, intrinsic_image="patches").terms)(
    params, tiny.frozen(), drawn
  )
  noisy = flow.corrupt(drawn.latents_BHWC, drawn.eps_BHWC, drawn.t_B)
  text = jnp.asarray(batch["prompt_features"], jnp.float32)
  out = tiny.jit(model.apply)({"params": params}, noisy, text, drawn.t_B)
  h, mid = np.float64(batch["h_image"]), np.float64(out.image_mid_BTE)
  norms = np.linalg.norm(h, axis=-1) * np.linalg.norm(mid, axis=-1)
  want = 1 - ((h * mid).sum(-1) / norms).mean(-1)
  np.testing.assert_allclose(values["intrinsic_image"], want, atol=1e-4)


def test_terms_are_per_example(terms):
  values, embeddings = terms
  assert {name: x.shape for name, x in values.items()} == dict.fromkeys(
    ("flow", "text", "intrinsic_image", "intrinsic_text"), (B,)
  )
  for x in embeddings:
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), 1, rtol=1e-5)


def test_text_term_counts_masked_positions_only(terms):
  """No mask at all in an example means no text loss for it."""
  values, _ = terms
  has_mask = tiny.batch(B)["is_masked"].any(axis=1)
  np.testing.assert_array_equal(np.asarray(values["text"]) > 0, has_mask)


# The gradient.


def test_total_is_the_weighted_sum(gradient, terms):
  _, metrics = gradient()
  values, embeddings = terms
  cross = losses.info_nce(*embeddings)
  means = {
    name: float(x.mean()) for name, x in (values | {"cross": cross}).items()
  }
  for name, mean in means.items():
    assert float(metrics[f"loss/{name}"]) == pytest.approx(mean, rel=1e-4)
  want = (
    means["flow"]
    + 0.2 * means["text"]
    + 0.05 * means["cross"]
    + 0.1 * (means["intrinsic_image"] + means["intrinsic_text"])
  )
  assert float(metrics["loss/total"]) == pytest.approx(want, rel=1e-4)


def test_gradient_is_the_slope_of_the_total(compiled, params, gradient):
  """Central difference along the gradient itself."""
  start, grads = jax.device_get((params, gradient()[0]))
  norm, h = tiny.norm(grads), 2e-3
  drawn = _draw(tiny.batch(B))

  def total(step):
    moved = jax.tree.map(
      lambda p, g: p + np.float32(step / norm) * g, start, grads
    )
    return compiled()(moved, tiny.frozen(), drawn)[1]["loss/total"]

  slope = (total(h) - total(-h)) / (2 * h)
  assert float(slope) == pytest.approx(norm, rel=2e-2)


@pytest.mark.parametrize("num_cond", [0, N])
def test_accumulation_changes_nothing(gradient, num_cond):
  """Negatives stay those of the whole batch, in value and in gradient."""
  once, parts = (gradient(accumulation=a, num_cond=num_cond) for a in (1, 4))
  tiny.assert_close(parts[0], once[0], 1e-5)
  for name, value in once[1].items():
    assert float(parts[1][name]) == pytest.approx(float(value), rel=1e-5), name


def test_logits_in_parts_change_nothing(gradient):
  whole, parts = gradient(), gradient(text_rows=5)
  tiny.assert_close(parts[0], whole[0], 1e-5)
  tiny.assert_close(parts[1], whole[1], 1e-5)


def test_conditions_change_the_loss(gradient):
  without, given = gradient()[1], gradient(num_cond=N)[1]
  assert abs(float(without["loss/flow"] - given["loss/flow"])) > 1e-3
  assert float(without["loss/text"]) == pytest.approx(
    float(given["loss/text"]), rel=1e-5
  )


def test_stored_equals_online(compiled, params):
  """Features that the record brings, or that the step computes: same loss."""
  frozen, online = tiny.frozen(), _draw(tiny.batch(B, stored=False))
  table = frozen.text_encoder
  features = {
    "prompt_features": table[online.record["prompt_ids"]],
    "masked_features": table[online.masked_ids_BL],
  }
  stored = online._replace(record=online.record | features)
  # A record that brings its features needs no text encoder.
  got = compiled()(params, frozen.replace(text_encoder=None), stored)
  want = compiled()(params, frozen, online)
  tiny.assert_close(got[0], want[0], 1e-5)
  tiny.assert_close(got[1], want[1], 1e-5)


def test_the_authors_alternatives(gradient, terms):
  """Each changed key, in one step; values from the default's terms.

  In four parts: the groups of InfoNCE are those of the batch, not the parts.
  """
  values, embeddings = terms
  metrics = gradient(accumulation=4, **AUTHORS)[1]
  t_B = _draw(tiny.batch(B)).t_B
  image, text = (np.asarray(x, np.float64) for x in embeddings)
  cross = []
  for i in range(B):
    group = range(4 * (i // 4), 4 * (i // 4) + 4)
    cosines = np.array([image[i] @ text[j] for j in group]) / 0.07
    cross.append(np.log(np.exp(cosines).sum()) - cosines[i % 4])
  want = {
    "flow": jnp.mean(values["flow"] * t_B**2),
    "text": jnp.mean(values["text"]),
    "cross": np.mean(cross),
    "intrinsic_image": jnp.mean(values["intrinsic_image"]) - 1.0,
    "intrinsic_text": jnp.mean(values["intrinsic_text"]) - 1.0,
  }
  for name, value in want.items():
    got = float(metrics[f"loss/{name}"])
    assert got == pytest.approx(float(value), rel=1e-4), name
