"""The command that trains the small encoders, on a very small scale."""

import dataclasses
import pathlib

import jax
import numpy as np

from unialign_jax.convert import tensors
from unialign_jax.features import encoders
from unialign_jax.shapes import language
from unialign_jax.shapes import pretrain
from unialign_jax.shapes import pretrain_image
from unialign_jax.shapes import pretrain_text
from unialign_jax.shapes import tokenizer as tokenizer_lib
from unialign_jax.shapes import weights

TEXT = pretrain_text.Recipe(
  d_model=16, d_ff=24, num_layers=1, num_heads=2, batch_size=16, steps=60
)
IMAGE = pretrain_image.Recipe(
  block_out_channels=(4, 4), norm_num_groups=2, batch_size=4, steps=12
)


def _train_text(folder) -> list[str]:
  lines: list[str] = []
  samples = pretrain.make_samples([0, 0], "train", 4)
  test_samples = pretrain.make_samples([0, 2], "test", 2)
  # optax mixes integers with floats inside, here and below.
  with jax.numpy_dtype_promotion("standard"):
    pretrain.train_text(
      folder, samples, test_samples, recipe=TEXT, seed=0, log=lines.append
    )
  return lines


def test_text_encoder_learns_is_written_and_repeats_itself(tmp_path):
  lines = _train_text(tmp_path / "a")
  losses = [float(x.split()[3].strip(",")) for x in lines if "loss" in x]
  assert losses[-1] < losses[0] - 0.5
  text = encoders.TextEncoder.load(
    tmp_path / "a" / "text_encoder_3", tmp_path / "a" / "tokenizer_3"
  )
  assert text.vocab_size == text.config.vocab_size

  assert _train_text(tmp_path / "b") == lines
  again = tensors.Tensors(tmp_path / "b" / "text_encoder_3", "model")
  for name, tensor in again.items():
    first = tensors.Tensors(tmp_path / "a" / "text_encoder_3", "model")[name]
    np.testing.assert_array_equal(tensor, first)


def test_autoencoder_learns_and_is_written_with_measured_scaling(tmp_path):
  lines: list[str] = []
  pictures = pretrain.make_pictures([0, 1], 10)
  test_samples = pretrain.make_samples([0, 2], "test", 1)
  with jax.numpy_dtype_promotion("standard"):
    pretrain.train_image(
      tmp_path, pictures, test_samples, recipe=IMAGE, seed=0, log=lines.append
    )
  losses = [float(x.split()[5].strip(",")) for x in lines if "loss" in x]
  assert losses[-1] < losses[0] - 0.1
  assert sum("PSNR" in line for line in lines) >= 6
  image = encoders.ImageEncoder.load(tmp_path / "vae")
  mean, std = image.encode(pictures)
  assert abs(mean.mean()) < 1e-2
  assert abs(np.sqrt(mean.var() + np.square(std).mean()) - 1) < 1e-2


def test_masks_cover_every_share_and_some_texts_stay_clean():
  ids = np.full((400, 32), 5, np.int32)
  masked, is_masked = pretrain_text.mask(jax.random.key(0), ids, 9, 0.1)
  np.testing.assert_array_equal(masked, np.where(is_masked, 9, 5))
  share = np.asarray(is_masked).mean(1)
  assert 0.05 < np.mean(share == 0) < 0.25
  assert np.mean(share > 0.75) > 0.1 and abs(share.mean() - 0.45) < 0.05


def test_every_word_of_the_language_is_one_piece():
  tokenizer = tokenizer_lib.build(pretrain.WORDS)
  for word in language.VOCABULARY:
    assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1, word
  samples = pretrain.make_samples([0, 0], "train", 5)
  for text in pretrain.texts_of(samples):
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids) == text
    assert len(encoded.ids) <= language.count_tokens(text) + 1


def test_real_english_survives_the_tokenizer():
  tokenizer = tokenizer_lib.build(pretrain.WORDS)
  text = 'Two Dogs (3.5% grey) ran; "why?" she asked: a_b-c@d #1 & ~2!'
  ids = tokenizer.encode(text).ids
  assert tokenizer.token_to_id(tokenizer_lib.UNKNOWN) not in ids
  assert tokenizer.decode(ids) == text
  for token, want in (("<pad>", 0), ("</s>", 1), ("<unk>", 2)):
    assert tokenizer.token_to_id(token) == want
  last = tokenizer.get_vocab_size() - 1
  assert tokenizer.token_to_id("<extra_id_0>") == last


def test_shipped_files_are_small_and_of_sd3s_form():
  def size(folder: pathlib.Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())

  folders = (weights.TEXT_ENCODER, weights.TOKENIZER, weights.VAE)
  assert sum(map(size, folders)) <= 4_000_000
  assert size(weights.FOLDER) <= 20_000_000  # with the trained transformer
  config = encoders.ImageEncoder.load(weights.VAE).config
  assert config.latent_channels == 16 and config.downsampling == 8
  assert not config.use_quant_conv and config.mid_block_add_attention
  recipe = dataclasses.asdict(pretrain_image.Recipe())
  assert config.block_out_channels == recipe["block_out_channels"]


def test_shipped_autoencoder_reaches_30_db_on_test_scenes():
  image = encoders.ImageEncoder.load(weights.VAE, batch_size=16)
  rng = np.random.default_rng(5)
  pictures = np.stack(
    [
      pretrain.tasks.make("text_to_image", rng, split="test").target_image
      for _ in range(48)
    ]
  )
  mean, std = image.encode(pictures)
  decibel = pretrain_image.psnr(image.decode(mean), pictures)
  assert decibel.mean() >= 30.0
  noisy = mean + std * rng.normal(size=mean.shape)
  decibel = pretrain_image.psnr(image.decode(noisy), pictures)
  assert decibel.mean() >= 28.0
  assert abs(mean.mean()) < 0.2
  assert abs(np.sqrt(mean.var() + np.square(std).mean()) - 1) < 0.15


def test_shipped_text_encoder_fills_in_what_the_text_determines():
  """Features of a masked word lie near the word that the rest implies."""
  text = encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER)
  ids = text.tokenise(["a red circle and a blue square"], 16)
  masked = ids.copy()
  masked[0, 3] = text.mask_id  # "and" between two noun phrases
  features = text.encode(np.concatenate([ids, masked]))
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
  near = unit[1, 3] @ unit[0].T
  assert near.argmax() == 3
