"""`models/t5.py` gives the numbers of `transformers.T5EncoderModel`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import close
from unialign_jax.convert import mapping
from unialign_jax.convert import t5_table
from unialign_jax.models import t5

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTH = 150  # beyond max_distance, so that every bucket is met


def _torch_encoder(feed_forward: str) -> "transformers.T5EncoderModel":
  torch.manual_seed(0)
  config = transformers.T5Config(
    vocab_size=50,
    d_model=24,
    d_kv=6,
    d_ff=40,
    num_layers=3,
    num_heads=5,
    feed_forward_proj=feed_forward,
  )
  encoder = transformers.T5EncoderModel(config).eval()
  with torch.no_grad():
    for parameter in encoder.parameters():
      parameter.add_(0.3 * torch.randn_like(parameter))
  return encoder


def _state(encoder: "torch.nn.Module") -> dict[str, np.ndarray]:
  return {k: v.numpy() for k, v in encoder.state_dict().items()}


def _flax_encoder(encoder):
  config = t5.T5Config.from_hf(encoder.config.to_dict())
  model = t5.T5Encoder(config)
  ids = jax.ShapeDtypeStruct((1, 4), jnp.int32)
  abstract = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
  rules = t5_table.rules()
  return model, mapping.to_flax(rules, _state(encoder), abstract)


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "relu"])
@pytest.mark.parametrize("masked", [False, True])
def test_features_equal(feed_forward: str, masked: bool):
  encoder = _torch_encoder(feed_forward)
  model, params = _flax_encoder(encoder)
  rng = np.random.default_rng(0)
  ids = rng.integers(0, 50, (2, LENGTH))
  pad_mask = np.arange(LENGTH)[None] < np.array([[LENGTH], [17]])
  with torch.no_grad():
    want = encoder(
      torch.tensor(ids),
      attention_mask=torch.tensor(pad_mask) if masked else None,
    ).last_hidden_state.numpy()
  got = jax.jit(model.apply)(
    {"params": params}, jnp.asarray(ids), pad_mask if masked else None
  )
  close.assert_close(got, want)


def test_relative_positions_equal_at_every_distance():
  offsets = np.arange(-300, 301)
  attention = transformers.models.t5.modeling_t5.T5Attention
  for buckets, distance in ((32, 128), (16, 60)):
    want = attention._relative_position_bucket(
      torch.tensor(offsets), True, buckets, distance
    )
    got = t5.relative_position_bucket(offsets, buckets, distance)
    np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "relu"])
def test_weights_return_unchanged(feed_forward: str):
  encoder = _torch_encoder(feed_forward)
  _, params = _flax_encoder(encoder)
  back = mapping.to_torch(t5_table.rules(), params)
  want = _state(encoder)
  # Tied: PyTorch lists the embedding twice, files hold it once.
  np.testing.assert_array_equal(
    want.pop("encoder.embed_tokens.weight"), want["shared.weight"]
  )
  assert sorted(back) == sorted(want)
  for name, tensor in want.items():
    np.testing.assert_array_equal(back[name], tensor)
