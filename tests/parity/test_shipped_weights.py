"""transformers and diffusers load the shipped folders and agree with us."""

import numpy as np
import pytest

from tests.parity import close
from unialign_jax.features import encoders
from unialign_jax.shapes import tasks
from unialign_jax.shapes import weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")


def test_text_encoder_equal():
  ours = encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER)
  theirs = transformers.T5EncoderModel.from_pretrained(
    weights.TEXT_ENCODER, dtype=torch.float32
  ).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(weights.TOKENIZER)
  texts = ["a red circle, a blue square", "Q: what color is it? A: red"]
  ids = ours.tokenise(texts, 24)
  for row, text in zip(ids, texts):
    unpadded = tokenizer(text)["input_ids"]
    assert list(row[: len(unpadded)]) == unpadded
  ids[1, 3] = ours.mask_id
  with torch.no_grad():
    want = theirs(torch.tensor(ids, dtype=torch.long)).last_hidden_state
  close.assert_close(ours.encode(ids), want.numpy())


def test_autoencoder_equal():
  ours = encoders.ImageEncoder.load(weights.VAE)
  theirs = diffusers.AutoencoderKL.from_pretrained(
    weights.VAE, torch_dtype=torch.float32
  ).eval()
  rng = np.random.default_rng(0)
  made = [tasks.make("edit", rng, split="test") for _ in range(2)]
  images = np.stack([sample.target_image for sample in made])
  pixels = torch.tensor(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
  config = theirs.config
  mean, std = ours.encode(images)
  with torch.no_grad():
    posterior = theirs.encode(pixels).latent_dist
    decoded = theirs.decode(posterior.mean).sample.numpy()
  scaled = (posterior.mean - config.shift_factor) * config.scaling_factor
  close.assert_close(mean, scaled.numpy().transpose(0, 2, 3, 1))
  scaled_std = posterior.std * config.scaling_factor
  close.assert_close(std, scaled_std.numpy().transpose(0, 2, 3, 1))
  levels = np.clip((decoded.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255)
  assert np.abs(ours.decode(mean) - levels).max() <= 0.51


def test_mask_embedding_from_a_pth_file(tmp_path):
  plain = encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER)
  row = torch.arange(plain.config.d_model, dtype=torch.float32)
  path = tmp_path / "mask_token_emb.00-of-01.pth"
  torch.save(row[None], path)
  aligned = encoders.TextEncoder.load(
    weights.TEXT_ENCODER, weights.TOKENIZER, mask_embedding=path
  )
  got = aligned.params["token_embed"]["embedding"][aligned.mask_id]
  np.testing.assert_array_equal(got, row.numpy())


def test_a_pth_file_with_code_is_refused(tmp_path):
  path = tmp_path / "row.pth"
  torch.save({"row": np.float64}, path)  # needs unpickling of a global
  with pytest.raises(ValueError, match=r"Cannot read .*row\.pth"):
    encoders.TextEncoder.load(
      weights.TEXT_ENCODER, weights.TOKENIZER, mask_embedding=path
    )
