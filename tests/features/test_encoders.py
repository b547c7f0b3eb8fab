"""Loading frozen encoders from folders, and using them."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.convert import tensors
from unialign_jax.features import encoders
from unialign_jax.models import t5
from unialign_jax.models import vae
from unialign_jax.shapes import pretrain
from unialign_jax.shapes import tokenizer as tokenizer_lib

T5 = t5.T5Config(
  vocab_size=130,
  d_model=8,
  d_kv=4,
  d_ff=12,
  num_layers=2,
  num_heads=2,
  feed_forward_proj="gated-gelu",
)
VAE = vae.VAEConfig(
  block_out_channels=(4, 8),
  latent_channels=3,
  norm_num_groups=2,
  scaling_factor=0.5,
  shift_factor=0.25,
  use_quant_conv=False,
  use_post_quant_conv=False,
)
WORDS = ("a", "red", "circle", "blue", "square")


def _random(model, example):
  """Random parameters by numpy: compiling flax's `init` takes longer."""
  rng = np.random.default_rng(0)
  abstract = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
  return jax.tree.map(
    lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), abstract
  )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  """Random tiny encoders, written as folders."""
  folder = tmp_path_factory.mktemp("encoders")
  ids = np.zeros((1, 1), np.int32)
  params = _random(t5.T5Encoder(T5), ids)
  pretrain.write_text_encoder(folder / "text_encoder", T5, params)
  tokenizer = tokenizer_lib.build(WORDS)
  tokenizer_lib.save(tokenizer, folder / "tokenizer")
  image = np.zeros((1, 8, 8, 3), np.float32)
  params = _random(vae.AutoencoderKL(VAE), image)
  pretrain.write_vae(folder / "vae", VAE, params)
  return folder


@pytest.fixture
def folder(original, tmp_path):
  """A copy that a test may damage."""
  return shutil.copytree(original, tmp_path / "encoders")


def _text(folder, **options) -> encoders.TextEncoder:
  return encoders.TextEncoder.load(
    folder / "text_encoder", folder / "tokenizer", **options
  )


def test_written_configs_read_back(folder):
  assert _text(folder).config == T5
  assert encoders.ImageEncoder.load(folder / "vae").config == VAE


def test_tokens(folder):
  encoder = _text(folder)
  ids = encoder.tokenise(["a red circle, a blue square", "red", " "], 6)
  assert ids.dtype == np.int32 and ids.shape == (3, 6)
  eos = encoder.eos_id
  assert eos == 1 and encoder.tokenizer.pad_token_id == eos
  assert ids[0, -1] == eos and eos not in ids[0, :-1]  # cut, EOS kept
  assert list(ids[1, 1:]) == [eos] * 5
  assert list(ids[2]) == [eos] * 6  # the null text is all EOS
  assert encoder.vocab_size == encoder.mask_id + 1
  assert encoder.tokenizer.decode([encoder.mask_id]) == "<extra_id_0>"


def test_features_do_not_depend_on_the_batching(folder):
  encoder = _text(folder, batch_size=4)
  ids = encoder.tokenise(["a red circle"] * 4 + ["blue square a a"] * 3, 8)
  features = encoder.encode(ids)
  assert features.shape == (7, 8, T5.d_model)
  for i in (0, 4, 6):
    alone = encoder.encode(ids[i : i + 1])[0]
    np.testing.assert_allclose(features[i], alone, atol=1e-5)
  direct = encoder.model.apply({"params": encoder.params}, ids)
  np.testing.assert_allclose(features, direct, atol=1e-5)
  with pytest.raises(ValueError, match="empty batch"):
    encoder.encode(ids[:0])


def test_latents_are_scaled_on_the_way_in_and_out(folder):
  encoder = encoders.ImageEncoder.load(folder / "vae")
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
  mean, std = encoder.encode(images)
  pixels = jnp.asarray(images, jnp.float32) / 127.5 - 1.0
  variables = {"params": encoder.params}
  apply = jax.jit(encoder.model.apply, static_argnames="method")
  want = apply(variables, pixels, method="encode")
  np.testing.assert_allclose(mean, (want[0] - 0.25) * 0.5, atol=1e-5)
  np.testing.assert_allclose(std, want[1] * 0.5, atol=1e-5)
  decoded = apply(variables, want[0], method="decode")
  levels = np.clip((np.asarray(decoded) + 1) * 127.5, 0, 255)
  got = encoder.decode(mean)
  assert got.dtype == np.uint8
  assert np.abs(got - levels).max() <= 0.51
  with pytest.raises(ValueError, match="expected uint8"):
    encoder.encode(pixels)


def test_identity_follows_weights_config_and_vocabulary(folder):
  text = _text(folder).identity
  image = encoders.ImageEncoder.load(folder / "vae").identity
  assert text == _text(folder).identity and text != image

  config_path = folder / "vae" / "config.json"
  config = json.loads(config_path.read_text())
  config_path.write_text(json.dumps({**config, "scaling_factor": 0.6}))
  assert encoders.ImageEncoder.load(folder / "vae").identity != image

  tokenizer_lib.save(
    tokenizer_lib.build((*WORDS, "ring")), folder / "tokenizer"
  )
  assert _text(folder).identity != text


def test_identity_is_the_same_for_shards(folder):
  """How a publisher cuts the files does not make another encoder."""
  want = _text(folder).identity
  weights = folder / "text_encoder"
  state = dict(tensors.Tensors(weights, "model"))
  (weights / "model.safetensors").unlink()
  weight_map = {}
  for i, name in enumerate(state):
    tensors.save(weights, f"shard-{i}", {name: state[name]})
    weight_map[name] = f"shard-{i}.safetensors"
  index = weights / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": weight_map}))
  assert _text(folder).identity == want


def test_mask_embedding_replaces_one_row(folder, tmp_path):
  plain = _text(folder)
  row = np.arange(T5.d_model, dtype=np.float32)
  tensors.save(tmp_path, "row", {"mask": row[None]})
  path = tmp_path / "row.safetensors"
  aligned = _text(folder, mask_embedding=path)
  table = aligned.params["token_embed"]["embedding"]
  np.testing.assert_array_equal(table[aligned.mask_id], row)
  changed = np.any(table != plain.params["token_embed"]["embedding"], axis=1)
  assert list(np.flatnonzero(changed)) == [aligned.mask_id]
  assert aligned.identity != plain.identity
  clean = plain.tokenise(["a red circle"], 6)
  np.testing.assert_array_equal(plain.encode(clean), aligned.encode(clean))

  tensors.save(tmp_path, "row", {"mask": row[:-1]})
  with pytest.raises(ValueError, match="expected one tensor of 8 numbers"):
    _text(folder, mask_embedding=path)


def test_folders_that_do_not_fit_are_refused(folder):
  weights = folder / "text_encoder"
  config = json.loads((weights / "config.json").read_text())
  (weights / "config.json").write_text(json.dumps({**config, "d_ff": 16}))
  with pytest.raises(ValueError, match=r"got \(12, 8\), expected \(16, 8\)"):
    _text(folder)
  small = {**config, "vocab_size": 20}
  (weights / "config.json").write_text(json.dumps(small))
  with pytest.raises(ValueError, match=r"tokens, expected at most .* 20"):
    _text(folder)
  (weights / "config.json").unlink()
  with pytest.raises(ValueError, match=r"no config\.json"):
    _text(folder)
  (weights / "config.json").write_text(json.dumps(config))
  with pytest.raises(ValueError, match=r"no tokenizer\.json"):
    encoders.TextEncoder.load(weights, folder / "vae")


def test_identity_is_the_same_in_every_precision(folder):
  """What wrote features in bfloat16 may train in float32."""
  half = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
  assert _text(folder, **half).identity == _text(folder).identity
  vae_folder = folder / "vae"
  image = encoders.ImageEncoder.load(vae_folder, **half)
  assert image.identity == encoders.ImageEncoder.load(vae_folder).identity


def test_bfloat16_parameters(folder):
  half = _text(folder, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
  assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(half.params))
  features = half.encode(half.tokenise(["red circle"], 4))
  want = _text(folder).encode(half.tokenise(["red circle"], 4))
  assert features.dtype == jnp.bfloat16
  np.testing.assert_allclose(features.astype(np.float32), want, atol=0.1)

  half = encoders.ImageEncoder.load(
    folder / "vae", dtype=jnp.bfloat16, param_dtype=jnp.bfloat16
  )
  assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(half.params))
  images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
  mean, std = half.encode(images)
  want = encoders.ImageEncoder.load(folder / "vae").encode(images)
  assert mean.dtype == std.dtype == np.float32
  np.testing.assert_allclose(mean, want[0], atol=0.1)
  np.testing.assert_allclose(std, want[1], atol=0.1)
  assert half.decode(mean).dtype == np.uint8
