"""The made-up batch is one that the pipeline could give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bench import small_step
from unialign_jax import sharding
from unialign_jax.bench import batches
from unialign_jax.models import t5
from unialign_jax.training import program as program_lib

CASES = {
  "stored": ({}, 0),
  "online": ({"data": {"text_features": "online"}}, 0),
  "conditions": ({}, 2),
  "patches": ({"loss": {"intrinsic_image": "patches"}}, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_shapes_are_those_of_a_run(case: str) -> None:
  changes, num_cond = CASES[case]
  config = small_step.config(**changes)
  mesh = sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  want = program_lib.abstract_batch(config, mesh, num_cond)
  got = batches.to_devices(batches.make(config, num_cond), mesh)
  assert {k: (v.shape, v.dtype, v.sharding) for k, v in got.items()} == {
    k: (v.shape, v.dtype, v.sharding) for k, v in want.items()
  }
  for name, value in got.items():
    assert np.asarray(value, np.float32).any(), name


def test_frozen_inputs_are_those_of_a_run() -> None:
  config = small_step.config(model={"dtype": "bfloat16"})
  mesh = sharding.make_mesh(1, 2, 1, devices=jax.devices()[:2])
  shape = t5.T5Config(
    vocab_size=40,
    d_model=16,
    d_kv=4,
    d_ff=32,
    num_layers=2,
    num_heads=2,
    feed_forward_proj="gated-gelu",
    param_dtype=jnp.bfloat16,
  )
  for text_model in (None, t5.T5Encoder(shape)):
    want = program_lib.abstract_frozen(config, mesh, text_model)
    got = batches.frozen(config, mesh, text_model)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
      assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
      assert ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim)
      assert np.asarray(ours, np.float32).any()


def test_masks_and_texts_fit() -> None:
  config = small_step.config(data={"batch_size": 32, "text_length": 64})
  batch = batches.make(config, 0)
  ids, is_masked = batch["caption_ids"], batch["is_masked"]
  assert ids.min() == 1
  assert ids.max() < config.model.vocab_size
  assert (ids != config.data.mask_id).all()
  np.testing.assert_array_equal(
    batch["masked_ids"], np.where(is_masked, config.data.mask_id, ids)
  )
  # One time in each stretch of 1/B, and masked as often as it says.
  times = np.sort(batch["masked_t"])
  np.testing.assert_array_equal((32 * times).astype(int), np.arange(32))
  shares = is_masked.mean(1)
  assert np.abs(shares - batch["masked_t"]).mean() < 0.1
  again = batches.make(config, 0)
  for name, value in batch.items():
    np.testing.assert_array_equal(value, again[name])
