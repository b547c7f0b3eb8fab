"""Encoders as they are published: sharded, of the published classes.

The features equal those of a plain transformers or diffusers script.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")

from tests.features import tiny_encoders  # noqa: E402
from unialign_jax.features import encoders  # noqa: E402

TEXTS = ("a red circle, a blue square", "make it red", " ") * 3
CACHE_ENTRY = "models--someone--sd3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Laid out as SD3 is."""
  path = tmp_path_factory.mktemp("models")
  tiny_encoders.save_t5(path / "text_encoder_3")
  tiny_encoders.save_vae(path / "vae")
  for name in ("text_encoder_3", "vae"):
    shards = list((path / name).glob("*-of-*.safetensors"))
    assert len(shards) > 2  # else the tests below say nothing about shards
  return path


def _text(path, **options) -> encoders.TextEncoder:
  return encoders.TextEncoder.load(path, path, **options)


def _features_by_transformers(path, length, dtype=torch.float32):
  tokenizer = transformers.AutoTokenizer.from_pretrained(path)
  tokenizer.pad_token = tokenizer.eos_token
  inputs = tokenizer(
    list(TEXTS),
    padding="max_length",
    max_length=length,
    truncation=True,
    return_tensors="pt",
  )
  model = transformers.T5EncoderModel.from_pretrained(path, dtype=dtype).eval()
  with torch.no_grad():
    features = model(inputs["input_ids"]).last_hidden_state
  return inputs["input_ids"].numpy(), features.float().numpy()


def test_text_features(folder):
  path = folder / "text_encoder_3"
  want_ids, want = _features_by_transformers(path, 6)
  encoder = _text(path, batch_size=8)
  ids = encoder.tokenise(TEXTS, 6)  # which cuts the first text
  np.testing.assert_array_equal(ids, want_ids)
  np.testing.assert_allclose(encoder.encode(ids), want, rtol=1e-4, atol=1e-4)


# float16 has three digits that bfloat16 parameters cannot hold: each is off by
# up to 2^-9 of it, and the features by some times that.
@pytest.mark.parametrize(
  ("dtype", "least", "most"),
  [(jnp.float16, 2**-9, 2**-5), (jnp.bfloat16, 0.0, 1e-5)],
)
def test_text_features_of_half_precision_files(tmp_path, dtype, least, most):
  name = jnp.dtype(dtype).name
  path = tiny_encoders.save_t5(tmp_path / name, dtype=getattr(torch, name))
  _, want = _features_by_transformers(path, 12)
  encoder = _text(path)  # held and computed in float32
  ids = encoder.tokenise(TEXTS, 12)
  np.testing.assert_allclose(encoder.encode(ids), want, rtol=1e-4, atol=1e-4)
  half = _text(path, param_dtype=jnp.bfloat16)
  assert all(p.dtype == jnp.bfloat16 for p in jax.tree.leaves(half.params))
  assert half.identity == encoder.identity
  apart = np.linalg.norm(half.encode(ids) - want) / np.linalg.norm(want)
  assert least <= apart <= most


def test_latents_and_pictures(folder):
  model = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (9, 8, 12, 3), np.uint8)
  pixels = torch.tensor(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
  with torch.no_grad():
    posterior = model.encode(pixels).latent_dist
    decoded = model.decode(posterior.mean).sample.numpy()
  shift, scale = model.config.shift_factor, model.config.scaling_factor
  encoder = encoders.ImageEncoder.load(folder / "vae")
  mean, std = encoder.encode(images)
  want_mean = ((posterior.mean - shift) * scale).numpy().transpose(0, 2, 3, 1)
  want_std = (posterior.std * scale).numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(mean, want_mean, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(std, want_std, rtol=1e-4, atol=1e-4)
  levels = np.clip((decoded.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255)
  assert np.abs(encoder.decode(mean) - levels).max() <= 0.51


def test_hub_ids_are_read_from_the_cache(folder, tmp_path, monkeypatch):
  from huggingface_hub import constants

  entry = tmp_path / CACHE_ENTRY
  (entry / "refs").mkdir(parents=True)
  (entry / "refs" / "main").write_text(COMMIT)
  (entry / "snapshots").mkdir()
  (entry / "snapshots" / COMMIT).symlink_to(folder)
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  text, image = "someone/sd3/text_encoder_3", "someone/sd3/vae@main"
  assert _text(text).identity == _text(folder / "text_encoder_3").identity
  assert (
    encoders.ImageEncoder.load(image).identity
    == encoders.ImageEncoder.load(folder / "vae").identity
  )
