"""The T5 encoder on its own; equality with PyTorch is tests/parity's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.models import t5

TINY = t5.T5Config(
  vocab_size=20,
  d_model=16,
  d_kv=4,
  d_ff=24,
  num_layers=2,
  num_heads=3,
  feed_forward_proj="gated-gelu",
)
IDS = np.array([[3, 4, 5, 6, 1, 1], [7, 3, 1, 1, 1, 1]], np.int32)
HF = {
  "model_type": "t5",
  "vocab_size": 32128,
  "d_model": 4096,
  "d_kv": 64,
  "d_ff": 10240,
  "num_layers": 24,
  "num_heads": 64,
  "feed_forward_proj": "gated-gelu",
  "decoder_start_token_id": 0,
}


def _init(config: t5.T5Config):
  model = t5.T5Encoder(config)
  return model, jax.jit(model.init)(jax.random.key(0), IDS)["params"]


def test_masked_padding_gives_no_gradient_and_no_influence():
  model, params = _init(TINY)
  pad_mask = IDS != 1
  pad_mask[:, 4] = True  # the first EOS is a real token

  def first_text_feature(embedding_VE):
    held = {**params, "token_embed": {"embedding": embedding_VE}}
    ids = jnp.where(jnp.asarray(pad_mask), IDS, 9)  # 9 stands only in padding
    features = model.apply({"params": held}, ids, pad_mask)
    return jnp.sum(jnp.square(features[:, 0]))

  grad = jax.jit(jax.grad(first_text_feature))(
    params["token_embed"]["embedding"]
  )
  assert np.all(np.asarray(grad)[9] == 0)
  assert np.any(np.asarray(grad)[3] != 0)


def test_attended_padding_matters():
  model, params = _init(TINY)
  alone = jax.jit(model.apply)({"params": params}, IDS[:, :4])
  padded = jax.jit(model.apply)({"params": params}, IDS)[:, :4]
  assert np.abs(alone - padded).max() > 1e-3


def test_bfloat16_stays_near_float32():
  model, params = _init(TINY)
  want = jax.jit(model.apply)({"params": params}, IDS)
  half = t5.T5Encoder(dataclasses.replace(TINY, dtype=jnp.bfloat16))
  got = jax.jit(half.apply)({"params": params}, IDS)
  assert got.dtype == jnp.bfloat16
  error = np.abs(np.asarray(got, np.float32) - want).max()
  assert error < 0.05 * np.abs(want).max()


def test_xxl_has_the_published_number_of_parameters():
  config = t5.T5Config.from_hf(HF)
  abstract = jax.eval_shape(t5.T5Encoder(config).init, jax.random.key(0), IDS)[
    "params"
  ]
  count = sum(leaf.size for leaf in jax.tree.leaves(abstract))
  # Encoder of google/t5-v1_1-xxl: embedding, 24 layers, position biases.
  layer = 4 * 4096 * 4096 + 3 * 4096 * 10240 + 2 * 4096
  assert count == 32128 * 4096 + 24 * layer + 32 * 64 + 4096


@pytest.mark.parametrize(
  "change, message",
  [
    ({"model_type": "clip"}, "model_type 'clip', expected 't5'"),
    ({"feed_forward_proj": "gated-silu"}, "'gated-silu', expected one of"),
  ],
)
def test_other_models_are_refused(change: dict, message: str):
  with pytest.raises(ValueError, match=message):
    t5.T5Config.from_hf({**HF, **change})


def test_a_missing_size_is_named():
  config = {k: v for k, v in HF.items() if k != "d_ff"}
  with pytest.raises(ValueError, match=r"lacks \['d_ff'\]"):
    t5.T5Config.from_hf(config)


def test_positions_are_relative_and_signed():
  offsets = np.arange(-40, 41)
  buckets = t5.relative_position_bucket(offsets, 32, 128)
  assert buckets[40] == 0  # a token and itself
  assert np.all(buckets[:40] < 16) and np.all(buckets[41:] > 16)
  assert np.all(np.diff(buckets[41:]) >= 0)
