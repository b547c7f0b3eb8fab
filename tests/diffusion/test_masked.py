"""Masked diffusion: properties, information flow, the loss and the steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.diffusion import masked

B, L, V, MASK = 3, 8, 11, 10


def _text(batch: int = B, length: int = L) -> jax.Array:
  return jax.random.randint(jax.random.key(0), (batch, length), 0, MASK)


def _logits(scale: float = 1.0) -> jax.Array:
  return scale * jax.random.normal(jax.random.key(1), (B, L, V), jnp.float32)


def _example() -> tuple[jax.Array, ...]:
  ids, t_B = _text(), jnp.array([0.2, 0.7, 1.0], jnp.float32)
  masked_ids, is_masked = masked.corrupt(
    jax.random.key(2), ids, t_B, jnp.ones((B, L), bool), mask_id=MASK
  )
  assert 0 < is_masked.sum() < B * L
  return ids, t_B, masked_ids, is_masked


def test_times_are_uniform_and_antithetic_ones_stratified():
  t_B = np.asarray(masked.sample_t(jax.random.key(0), 1_000))
  assert t_B.dtype == np.float32
  assert t_B.min() >= masked.T_MIN and t_B.max() <= 1
  gaps = np.diff(np.sort(t_B))
  np.testing.assert_allclose(gaps, (1 - masked.T_MIN) / 1_000, rtol=1e-2)
  loose = masked.sample_t(jax.random.key(0), 1_000, antithetic=False)
  assert abs(np.mean(loose) - 0.5) < 0.03
  assert np.diff(np.sort(loose)).max() > 3 / 1_000


def test_corrupt_is_identity_at_0_and_masks_all_at_1():
  ids = _text(2, 4_000)
  t_B = jnp.array([0.0, 1.0], jnp.float32)
  masked_ids, is_masked = masked.corrupt(
    jax.random.key(0), ids, t_B, jnp.ones_like(ids), mask_id=MASK
  )
  np.testing.assert_array_equal(masked_ids[0], ids[0])
  assert not is_masked[0].any()
  # all but the 1e-3 that the schedule leaves
  assert 1 - 3e-3 < is_masked[1].mean() < 1
  np.testing.assert_array_equal(
    masked_ids, np.where(is_masked, MASK, np.asarray(ids))
  )


def test_corrupt_masks_a_share_of_t():
  ids = _text(1, 20_000)
  _, is_masked = masked.corrupt(
    jax.random.key(0),
    ids,
    jnp.array([0.3], jnp.float32),
    jnp.ones_like(ids),
    mask_id=MASK,
  )
  assert abs(is_masked.mean() - 0.3 * (1 - 1e-3)) < 0.01


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_label_masked_positions_are_never_masked(dtype):
  ids = _text(1, 4_000)
  label_mask = (np.arange(4_000) >= 1_000).astype(dtype)[None]
  _, is_masked = masked.corrupt(
    jax.random.key(0),
    ids,
    jnp.ones((1,), jnp.float32),
    jnp.asarray(label_mask),
    mask_id=MASK,
  )
  assert not is_masked[0, :1_000].any()
  assert is_masked[0, 1_000:].mean() > 0.99


def test_loss_against_numpy():
  ids, t_B, _, is_masked = map(np.asarray, _example())
  logits = np.asarray(_logits(3.0), np.float64)
  want = np.zeros(B)
  for b in range(B):
    for i in range(L):
      if is_masked[b, i]:
        p = np.exp(logits[b, i, :MASK])  # the mask token has no share
        want[b] -= np.log(p[ids[b, i]] / p.sum()) / t_B[b]
  got = masked.loss(_logits(3.0), ids, is_masked, t_B, mask_id=MASK)
  np.testing.assert_allclose(got, want / L, rtol=1e-5)


def test_mean_over_the_batch_is_the_sum_over_b_times_l():
  ids, _, _, is_masked = _example()
  t_B = jnp.ones((B,), jnp.float32)
  uniform = jnp.zeros((B, L, V), jnp.float32)
  got = masked.loss(uniform, ids, is_masked, t_B, mask_id=MASK).mean()
  want = int(is_masked.sum()) * np.log(V - 1) / (B * L)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_loss_of_a_uniform_guess_bounds_its_entropy():
  """Eq. 3 is unbiased in t: nothing known costs log(V - 1) per token."""
  batch = 4_000
  ids = _text(batch)
  t_B = masked.sample_t(jax.random.key(1), batch)
  _, is_masked = masked.corrupt(
    jax.random.key(2), ids, t_B, jnp.ones_like(ids), mask_id=MASK
  )
  logits = jnp.zeros((batch, L, V), jnp.float32)
  loss = masked.loss(logits, ids, is_masked, t_B, mask_id=MASK)
  np.testing.assert_allclose(loss.mean(), np.log(V - 1), rtol=0.03)


def test_weight_is_bounded_at_small_t():
  ids, _, _, is_masked = _example()

  def loss(t, **t_min):
    t_B = jnp.full((B,), t, jnp.float32)
    return masked.loss(_logits(), ids, is_masked, t_B, mask_id=MASK, **t_min)

  np.testing.assert_array_equal(loss(0.0), loss(masked.T_MIN))
  np.testing.assert_allclose(
    loss(0.0, t_min=1e-4), 10 * loss(masked.T_MIN), rtol=1e-5
  )


def test_only_masked_positions_and_real_tokens_get_a_gradient():
  ids, t_B, _, is_masked = _example()

  def total(logits):
    return masked.loss(logits, ids, is_masked, t_B, mask_id=MASK).sum()

  grads = np.asarray(jax.grad(total)(_logits()))
  seen = np.abs(grads).sum(-1) > 0
  np.testing.assert_array_equal(seen, is_masked)
  np.testing.assert_array_equal(grads[..., MASK], 0)


def test_gradient_is_softmax_minus_one_hot():
  ids, t_B, _, is_masked = _example()
  grads = jax.grad(
    lambda x: masked.loss(x, ids, is_masked, t_B, mask_id=MASK).sum()
  )(_logits())
  p = np.asarray(jax.nn.softmax(_logits()[..., :MASK]))
  want = p - np.eye(MASK)[np.asarray(ids)]
  want *= np.where(is_masked, 1 / t_B[:, None], 0)[..., None] / L
  np.testing.assert_allclose(grads[..., :MASK], want, atol=1e-5)


def test_loss_takes_bfloat16_logits_and_stays_finite():
  ids, t_B, _, is_masked = _example()
  logits = _logits(1e4).astype(jnp.bfloat16)
  value, grads = jax.value_and_grad(
    lambda x: masked.loss(x, ids, is_masked, t_B, mask_id=MASK).sum()
  )(logits)
  assert value.dtype == jnp.float32 and grads.dtype == jnp.bfloat16
  assert np.isfinite(value) and np.isfinite(np.asarray(grads, float)).all()


def test_no_fp32_copy_of_the_logits_is_kept_for_the_gradient():
  """What the loss hands to its backward pass beyond its own inputs."""
  ids, t_B, _, is_masked = _example()
  logits = _logits().astype(jnp.bfloat16)
  _, vjp = jax.vjp(
    lambda x: masked.loss(x, ids, is_masked, t_B, mask_id=MASK), logits
  )
  kept = [x for x in jax.tree.leaves(vjp) if x.size >= B * L * V]
  assert [x.dtype for x in kept] == [jnp.bfloat16]


def test_mask_id_outside_the_vocabulary_is_refused():
  ids, t_B, _, is_masked = _example()
  with pytest.raises(ValueError, match="vocab_size"):
    masked.loss(_logits(), ids, is_masked, t_B, mask_id=V)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_subs_never_proposes_mask_and_carries_over(temperature):
  ids, _, masked_ids, is_masked = _example()
  logits = _logits().at[..., MASK].set(50.0)
  proposal = masked.propose(
    jax.random.split(jax.random.key(0), len(ids)),
    logits,
    masked_ids,
    is_masked,
    mask_id=MASK,
    temperature=temperature,
  )
  known = ~np.asarray(is_masked)
  assert not (proposal.token_ids_BL == MASK).any()
  np.testing.assert_array_equal(proposal.token_ids_BL[known], ids[known])
  np.testing.assert_array_equal(proposal.log_prob_BL[known], 0)
  assert (proposal.log_prob_BL[~known] < 0).all()


def test_proposals_follow_the_tempered_distribution():
  n, temperature = 20_000, 2.0
  row = jnp.array([2.0, 0.0, 1.0, -1.0], jnp.float32)
  proposal = masked.propose(
    jax.random.key(0)[None],
    jnp.broadcast_to(row, (1, n, 4)),
    jnp.zeros((1, n), jnp.int32),
    jnp.ones((1, n), bool),
    mask_id=3,
    temperature=temperature,
  )
  share = np.bincount(np.asarray(proposal.token_ids_BL[0]), minlength=4) / n
  want = np.asarray(jax.nn.softmax(row[:3] / temperature))
  np.testing.assert_allclose(share, [*want, 0], atol=0.015)
  # the log probabilities are those of temperature 1
  log_p = np.asarray(jax.nn.log_softmax(row[:3]))
  np.testing.assert_allclose(
    proposal.log_prob_BL[0], log_p[proposal.token_ids_BL[0]], rtol=1e-5
  )


def test_negative_temperature_is_refused():
  _, _, masked_ids, is_masked = _example()
  with pytest.raises(ValueError, match="temperature"):
    masked.propose(
      jax.random.split(jax.random.key(0), len(masked_ids)),
      _logits(),
      masked_ids,
      is_masked,
      mask_id=MASK,
      temperature=-1.0,
    )


def _all_masked(length: int) -> tuple[jax.Array, jax.Array, masked.Proposal]:
  ids = jnp.full((1, length), MASK, jnp.int32)
  guess = masked.Proposal(
    _text(1, length), -jnp.arange(length, dtype=jnp.float32)[None]
  )
  return ids, jnp.ones((1, length), bool), guess


def test_ancestral_step_reveals_its_share_from_the_proposal():
  ids, is_masked, guess = _all_masked(20_000)
  new, still = masked.step(
    jax.random.key(0)[None], ids, is_masked, guess, 0.8, 0.6
  )
  assert abs(1 - still.mean() - 0.25) < 0.01
  want = np.where(still, MASK, np.asarray(guess.token_ids_BL))
  np.testing.assert_array_equal(new, want)


def test_each_text_has_its_own_chance():
  keys = jax.random.split(jax.random.key(0), 3)
  logits = jnp.zeros((3, 50, V), jnp.float32)
  ids = jnp.full((3, 50), MASK, jnp.int32)
  draw = functools.partial(masked.propose, mask_id=MASK, temperature=1.0)
  together = draw(keys, logits, ids, ids == MASK)
  assert (together.token_ids_BL[0] != together.token_ids_BL[1]).any()
  step = masked.step(keys, ids, ids == MASK, together, 0.8, 0.4)
  for i in range(3):
    one = slice(i, i + 1)
    alone = draw(keys[one], logits[one], ids[one], ids[one] == MASK)
    np.testing.assert_array_equal(
      together.token_ids_BL[one], alone.token_ids_BL
    )
    shown = masked.step(keys[one], ids[one], ids[one] == MASK, alone, 0.8, 0.4)
    np.testing.assert_array_equal(step[0][one], shown[0])


def test_ancestral_step_to_0_reveals_all_and_keeps_the_known():
  ids, is_masked, guess = _all_masked(1_000)
  is_masked = is_masked.at[0, :10].set(False)
  ids = ids.at[0, :10].set(7)
  new, still = masked.step(
    jax.random.key(0)[None], ids, is_masked, guess, 0.3, 0.0
  )
  assert not still.any()
  np.testing.assert_array_equal(new[0, :10], 7)
  np.testing.assert_array_equal(new[0, 10:], guess.token_ids_BL[0, 10:])


def test_confidence_step_reveals_the_surest_of_each_row():
  ids = jnp.array([[1, MASK, MASK, MASK], [MASK, MASK, MASK, MASK]], jnp.int32)
  guess = masked.Proposal(
    jnp.array([[1, 2, 3, 4], [5, 6, 7, 8]], jnp.int32),
    jnp.array([[0.0, -3.0, -1.0, -2.0], [-1.0, -1.0, -9.0, -5.0]], jnp.float32),
  )
  new, still = masked.step_by_confidence(
    ids, ids == MASK, guess, jnp.array([1, 3], jnp.int32)
  )
  # the second row ties: the left one first
  want = [[1, MASK, 3, 4], [5, MASK, MASK, MASK]]
  np.testing.assert_array_equal(new, want)
  np.testing.assert_array_equal(still, np.array(want) == MASK)


def test_confidence_step_that_keeps_all_changes_nothing():
  ids, is_masked, guess = _all_masked(6)
  new, still = masked.step_by_confidence(
    ids, is_masked, guess, jnp.array([6], jnp.int32)
  )
  np.testing.assert_array_equal(new, ids)
  assert still.all()
