"""The encoders of a run beside its exported weights."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from tests.convert import exporting
from unialign_jax import config as config_lib
from unialign_jax.convert import encoder_folders
from unialign_jax.features import encoders
from unialign_jax.shapes import weights


def _shipped(**changes: str) -> config_lib.EncodersConfig:
  return dataclasses.replace(exporting.small()[0].encoders, **changes)


def test_copies_are_the_same_encoders(tmp_path: pathlib.Path):
  encoder_folders.copy(tmp_path, _shipped(), "bfloat16")
  text = encoders.TextEncoder.load(
    tmp_path / "text_encoder_3", tmp_path / "tokenizer_3"
  )
  want = encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER)
  assert text.identity == want.identity
  image = encoders.ImageEncoder.load(tmp_path / "vae")
  assert image.identity == encoders.ImageEncoder.load(weights.VAE).identity
  described = json.loads((tmp_path / "text_encoder_3/config.json").read_text())
  assert described["dtype"] == "bfloat16"
  assert "torch_dtype" not in described


def test_the_mask_embedding_is_put_in_place(tmp_path: pathlib.Path):
  row = np.linspace(-1, 1, 96, dtype=np.float32).astype(np.float16)
  source = tmp_path / "row.safetensors"
  safetensors.numpy.save_file({"row": row[None]}, source)
  out = tmp_path / "out"
  out.mkdir()
  encoder_folders.copy(out, _shipped(mask_embedding=str(source)), "float32")
  got = encoders.TextEncoder.load(out / "text_encoder_3", out / "tokenizer_3")
  want = encoders.TextEncoder.load(
    weights.TEXT_ENCODER, weights.TOKENIZER, mask_embedding=source
  )
  table = got.params["token_embed"]["embedding"]
  np.testing.assert_array_equal(table[got.mask_id], row.astype(np.float32))
  np.testing.assert_array_equal(table, want.params["token_embed"]["embedding"])


def test_references_are_hub_ids():
  got = encoder_folders.references(
    _shipped(
      text="owner/model/text_encoder_3@v2",
      tokenizer="owner/model/tokenizer_3",
      image="owner/vae",
    )
  )
  assert got["text_encoder_3"] == {
    "pretrained_model_name_or_path": "owner/model",
    "subfolder": "text_encoder_3",
    "revision": "v2",
  }
  assert got["tokenizer_3"]["subfolder"] == "tokenizer_3"
  assert got["vae"] == {"pretrained_model_name_or_path": "owner/vae"}


def test_a_reference_to_a_local_folder_is_refused():
  with pytest.raises(ValueError, match=r"encoders\.image: got the folder"):
    encoder_folders.references(_shipped())


def test_a_reference_cannot_carry_a_mask_embedding():
  with pytest.raises(ValueError, match="use --encoders=copy"):
    encoder_folders.references(_shipped(mask_embedding="row.safetensors"))


def test_a_run_without_encoders_is_told_what_to_pass(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="pass --image=FOLDER"):
    encoder_folders.copy(tmp_path, _shipped(image=""), "float32")
  assert not list(tmp_path.iterdir())


def test_a_truncated_encoder_is_refused(tmp_path: pathlib.Path):
  broken = tmp_path / "vae"
  broken.mkdir()
  for file in weights.VAE.iterdir():
    data = file.read_bytes()
    half = data[: len(data) // 2]
    (broken / file.name).write_bytes(
      half if file.suffix == ".safetensors" else data
    )
  out = tmp_path / "out"
  out.mkdir()
  with pytest.raises(ValueError, match=r"Cannot read .*safetensors"):
    encoder_folders.copy(out, _shipped(image=str(broken)), "float32")
