"""The text sampler: schedules, kept tokens, the cache, the real network."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.models import mmdit
from unialign_jax.sampling import text

B, L, V, MASK, EOS = 2, 8, 12, 11, 1
TRUTH = jnp.array(
  [[5, 3, 9, 4, EOS, EOS, EOS, EOS], [2, 2, 7, EOS, EOS, EOS, EOS, EOS]],
  jnp.int32,
)
LATENTS = jnp.zeros((B, 4, 4, 4), jnp.float32)
NOTHING = jnp.zeros((B, L), bool)


def _encode(ids):
  return jax.nn.one_hot(ids, V, dtype=jnp.float32)


def _knows_the_truth(calls=None, sharpness_L=None):
  """A network that wants TRUTH everywhere, and MASK even more."""
  sharpness = jnp.full((L,), 30.0) if sharpness_L is None else sharpness_L

  def apply(variables, latents, text_BLE, t_B, *, heads):
    assert heads == ("logits",) and t_B.shape == (1,)
    if calls is not None:
      jax.debug.callback(lambda x: calls.append(np.asarray(x)), text_BLE)
    logits = _encode(TRUTH) * sharpness.astype(jnp.float32)[None, :, None]
    logits = logits.at[..., MASK].set(1_000.0) + t_B[:, None, None]
    return types.SimpleNamespace(logits_BLV=logits * variables["params"])

  return apply


def _keys(seed):
  return jax.random.split(jax.random.key(seed), B)


def _sampler(apply, **overrides):
  settings = {"mask_id": MASK, "steps": 4} | overrides
  sample = text.make_sampler(apply, lambda none, ids: _encode(ids), **settings)

  def run(prompt_ids=TRUTH, prompt_mask=NOTHING, seed=0):
    out = sample(
      jnp.float32(1), (), LATENTS, _keys(seed), prompt_ids, prompt_mask
    )
    jax.effects_barrier()
    return np.asarray(out)

  return run


@pytest.mark.parametrize("schedule", text.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_perfect_denoiser_recovers_the_text(schedule, steps, temperature):
  got = _sampler(
    _knows_the_truth(), schedule=schedule, steps=steps, temperature=temperature
  )()
  np.testing.assert_array_equal(got, TRUTH)


@pytest.mark.parametrize("schedule", text.SCHEDULES)
def test_given_tokens_stay_and_the_rest_is_filled(schedule):
  given = jnp.arange(L)[None] < jnp.array([[3], [0]])
  # even a given token that looks like MASK
  prompt = jnp.full((B, L), MASK, jnp.int32).at[0, :2].set(8)
  got = _sampler(_knows_the_truth(), schedule=schedule)(prompt, given)
  np.testing.assert_array_equal(got, np.where(given, prompt, TRUTH))


@pytest.mark.parametrize("schedule", text.SCHEDULES)
def test_text_starts_masked_beyond_the_prompt(schedule):
  calls = []
  given = jnp.broadcast_to(jnp.arange(L)[None] < 3, (B, L))
  _sampler(_knows_the_truth(calls), schedule=schedule, temperature=0.0)(
    TRUTH, given
  )
  shown = calls[0].argmax(-1)
  np.testing.assert_array_equal(shown, np.where(given, TRUTH, MASK))
  # and each later text shows what was revealed, nothing else
  for earlier, later in itertools.pairwise(calls):
    before, after = earlier.argmax(-1), later.argmax(-1)
    assert ((after == before) | (before == MASK)).all()
    assert (before != after).any()


def test_the_network_is_skipped_while_nothing_changes():
  calls = []
  _sampler(_knows_the_truth(calls), schedule="ancestral", steps=400)()
  # at most one call per revealed token, the clean-up included
  assert 1 < len(calls) <= B * L
  calls.clear()
  _sampler(_knows_the_truth(calls), schedule="confidence", steps=400)()
  assert len(calls) == L  # both rows reveal a token at the same steps


def test_nothing_open_costs_nothing():
  calls = []
  got = _sampler(_knows_the_truth(calls))(TRUTH, ~NOTHING)
  np.testing.assert_array_equal(got, TRUTH)
  assert not calls


def test_confidence_reveals_the_surest_first():
  calls = []
  sharpness = jnp.array([2.0, 9.0, 4.0, 7.0, 3.0, 8.0, 5.0, 6.0])
  _sampler(
    _knows_the_truth(calls, sharpness),
    schedule="confidence",
    steps=L,
    temperature=0.0,
  )()
  hidden = [(shown.argmax(-1) == MASK).sum(0) for shown in calls]  # of B rows
  number_of_calls_hidden = np.sum(hidden, axis=0)
  np.testing.assert_array_equal(
    np.argsort(number_of_calls_hidden), np.argsort(-sharpness)
  )


def test_confidence_reveals_evenly():
  calls = []
  _sampler(_knows_the_truth(calls), schedule="confidence", steps=4)()
  still = [int((shown.argmax(-1) == MASK).sum()) for shown in calls]
  assert still == [B * L, B * 6, B * 4, B * 2]


def test_ancestral_order_is_random_but_set_by_the_key():
  calls = []
  run = _sampler(_knows_the_truth(calls), steps=60)

  def order(seed):
    calls.clear()
    run(seed=seed)
    return np.stack(calls).argmax(-1).tolist()

  assert order(0) == order(0)
  assert order(0) != order(1)


def _uniform(variables, latents, text_BLE, t_B, *, heads):
  del variables, latents, t_B, heads
  return types.SimpleNamespace(
    logits_BLV=jnp.zeros((*text_BLE.shape[:2], V), jnp.float32)
  )


def test_ancestral_tokens_follow_the_model():
  """Cached proposals leave the law alone: uniform logits, uniform tokens."""
  n = 600
  ids = text.sample_text(
    _uniform,
    None,
    _encode,
    None,
    keys_B=jax.random.split(jax.random.key(0), n),
    prompt_ids_BL=jnp.zeros((n, L), jnp.int32),
    prompt_mask_BL=jnp.zeros((n, L), bool),
    mask_id=MASK,
    steps=10,
  )
  share = np.bincount(np.asarray(ids).ravel(), minlength=V) / ids.size
  np.testing.assert_allclose(share[:MASK], 1 / MASK, atol=0.02)
  assert share[MASK] == 0


def test_what_is_left_masked_becomes_the_likeliest_token(monkeypatch):
  monkeypatch.setattr(text, "_T_END", 0.5)  # leaves half of it
  run = _sampler(_knows_the_truth(), steps=2, temperature=1e4)
  nothing = jnp.zeros((B, L), jnp.int32)
  texts = np.stack([run(nothing, seed=i) for i in range(20)])
  # half is the truth, the other half was drawn blindly
  assert 0.4 < (texts == np.asarray(TRUTH)).mean() < 0.7


@functools.cache
def _tiny():
  """A tiny real network whose streams see each other: no gate is zero."""
  model = mmdit.MMDiT(
    mmdit.MMDiTConfig(
      in_channels=4,
      width=16,
      depth=1,
      num_heads=2,
      text_dim=6,
      vocab_size=V,
      pos_embed_size=8,
      pos_embed_base=4,
      align_depth=1,
      align_hidden=8,
      semantic_dim=8,
    )
  )
  shapes = jax.eval_shape(
    model.init,
    jax.random.key(0),
    LATENTS,
    jnp.zeros((B, L, 6), jnp.float32),
    jnp.zeros((B,), jnp.float32),
  )["params"]
  rng = np.random.default_rng(0)
  return model, jax.tree.map(
    lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype), shapes
  )


def _half_sure(variables, latents, text_BLE, t_B, *, heads):
  """Each text by itself, from what is shown of it and its picture."""
  del variables, t_B, heads
  token_V = jnp.arange(1, V + 1, dtype=jnp.float32)
  shown = jnp.cumsum(text_BLE, axis=1) * token_V[None, None]
  return types.SimpleNamespace(logits_BLV=jnp.sin(shown + latents[:, :1, 0]))


@pytest.mark.parametrize("schedule", text.SCHEDULES)
def test_a_text_does_not_depend_on_those_beside_it(schedule):
  """Neighbours that are revealed at other steps make no new proposals here."""
  n = 6
  sample = text.make_sampler(
    _half_sure,
    lambda none, ids: _encode(ids),
    mask_id=MASK,
    steps=12,
    schedule=schedule,
  )
  latents = jax.random.normal(jax.random.key(1), (n, 2, 2, 1), jnp.float32)
  keys = jax.random.split(jax.random.key(0), n)
  prompt = jnp.full((n, L), 3, jnp.int32)
  # unequally many are open, so unequally many steps reveal something
  given = jnp.arange(L)[None] < jnp.arange(n)[:, None]
  together = np.asarray(sample(None, (), latents, keys, prompt, given))
  assert len(np.unique(together, axis=0)) > 3
  for i in range(n):
    one = slice(i, i + 1)
    alone = sample(None, (), latents[one], keys[one], prompt[one], given[one])
    np.testing.assert_array_equal(together[one], alone)


@pytest.mark.parametrize("schedule", text.SCHEDULES)
def test_the_loop_ends_when_all_is_revealed(schedule, monkeypatch):
  """And what it gives is what all the steps would have given."""
  entered = []
  fold_in = jax.random.fold_in

  def counted(key, step):
    jax.debug.callback(lambda i: entered.append(int(i)), step)
    return fold_in(key, step)

  given = jnp.arange(L)[None] < jnp.array([[L - 1], [L]])  # one open token
  run = functools.partial(
    _sampler(_knows_the_truth(), schedule=schedule, steps=4000), TRUTH, given
  )
  monkeypatch.setattr(jax.random, "fold_in", counted)
  np.testing.assert_array_equal(run(), TRUTH)
  # the surest token is revealed by the first step, a random one by any
  assert max(entered) == 0 if schedule == "confidence" else max(entered) < 3999


@pytest.mark.parametrize("schedule", text.SCHEDULES)
def test_make_sampler_runs_the_real_network_jitted(schedule):
  model, params = _tiny()
  table = jax.random.normal(jax.random.key(3), (V, 6), jnp.float32)
  sample = text.make_sampler(
    model.apply,
    lambda table, ids: table[ids],
    mask_id=MASK,
    steps=5,
    schedule=schedule,
    temperature=0.0,
  )
  given = jnp.broadcast_to(jnp.arange(L)[None] < 2, (B, L))
  latents = jax.random.normal(jax.random.key(4), (2, *LATENTS.shape))
  outputs = [
    np.asarray(sample(params, table, x, _keys(0), TRUTH, given))
    for x in (latents[0], latents[1], None)
  ]
  for out in outputs:
    assert out.shape == (B, L) and not (out == MASK).any()
    np.testing.assert_array_equal(out[:, :2], TRUTH[:, :2])
  assert any((outputs[0] != other).any() for other in outputs[1:])


def test_settings_that_mean_nothing_are_refused():
  with pytest.raises(ValueError, match="schedule"):
    _sampler(_knows_the_truth(), schedule="greedy")()
  with pytest.raises(ValueError, match="steps"):
    _sampler(_knows_the_truth(), steps=0)()
  with pytest.raises(ValueError, match="prompt_mask_BL"):
    _sampler(_knows_the_truth())(TRUTH, NOTHING[:, :3])
