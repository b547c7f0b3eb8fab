"""Imported SD3 weights give the velocity of diffusers' SD3."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import close
from unialign_jax import checkpoint
from unialign_jax.convert import import_folder
from unialign_jax.convert import read
from unialign_jax.convert import sd3_single_file
from unialign_jax.models import layers
from unialign_jax.models import mmdit

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
sd3_models = pytest.importorskip("tests.parity.sd3_models")
single_file_utils = pytest.importorskip("diffusers.loaders.single_file_utils")

T = np.array([0.25, 0.9], np.float32)
NO_POOLED = torch.zeros(1, sum(sd3_models.POOLED))
FORMS = {"sd3": {}, "sd35": {"qk_norm": True, "dual": 2}}


def _inputs() -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  latents = rng.normal(size=(2, 6, 8, 4)).astype(np.float32)
  text = rng.normal(size=(2, 5, sd3_models.TEXT_DIM)).astype(np.float32)
  return latents, text


def _theirs(network, pooled: "torch.Tensor") -> np.ndarray:
  latents, text = _inputs()
  with torch.no_grad():
    velocity = network(
      torch.tensor(np.moveaxis(latents, -1, 1).copy()),
      torch.tensor(text),
      pooled.expand(len(T), -1),
      torch.tensor(1000 * T),
    ).sample
  return np.moveaxis(velocity.numpy(), 1, -1)


def _ours(out: pathlib.Path) -> np.ndarray:
  config, params = checkpoint.load_params(out)
  model = mmdit.MMDiT(_fp32(config.model))
  apply = jax.jit(lambda *x: model.apply({"params": params}, *x).velocity_BHWC)
  return np.asarray(apply(*_inputs(), T))


def _fp32(config: mmdit.MMDiTConfig) -> mmdit.MMDiTConfig:
  return dataclasses.replace(config, dtype="float32")


def _without_pooled_text(network) -> None:
  with torch.no_grad():
    for parameter in network.time_text_embed.text_embedder.parameters():
      parameter.zero_()


@pytest.mark.parametrize("source", FORMS)
def test_a_folder_gives_the_velocity_of_diffusers(
  source: str, tmp_path: pathlib.Path
) -> None:
  network = sd3_models.transformer(**FORMS[source])
  network.save_pretrained(tmp_path / "sd3/transformer", max_shard_size="500KB")
  assert len(list(tmp_path.glob("sd3/transformer/*.safetensors"))) > 2
  import_folder.run(source, str(tmp_path / "sd3"), tmp_path / "out")
  _without_pooled_text(network)
  close.assert_close(_ours(tmp_path / "out"), _theirs(network, NO_POOLED))


@pytest.mark.parametrize("source", FORMS)
def test_original_names_are_read_as_diffusers_reads_them(
  source: str, tmp_path: pathlib.Path
) -> None:
  original = sd3_models.original_checkpoint(**FORMS[source])
  path = tmp_path / "sd3.safetensors"
  sd3_models.save_single_file(path, original)
  want = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(
    dict(original)
  )
  got, left_out = sd3_single_file.in_diffusers_names(read.from_file(path))
  assert sorted(got) == sorted(want)
  for name, tensor in want.items():
    np.testing.assert_array_equal(got[name], tensor.numpy(), err_msg=name)
    assert got.shapes[name] == tensor.shape, name
  assert sorted(left_out) == ["first_stage_model.*", "text_encoders.*"]


@pytest.mark.parametrize("source", FORMS)
def test_a_single_file_gives_the_velocity_of_diffusers(
  source: str, tmp_path: pathlib.Path
) -> None:
  original = sd3_models.original_checkpoint(**FORMS[source])
  path = tmp_path / "sd3.safetensors"
  sd3_models.save_single_file(path, original)
  network = sd3_models.transformer(**FORMS[source])
  network.load_state_dict(
    single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(original)
  )
  import_folder.run(source, str(path), tmp_path / "out")
  _without_pooled_text(network)
  close.assert_close(_ours(tmp_path / "out"), _theirs(network, NO_POOLED))


def test_folding_gives_the_modulation_of_the_empty_prompt(
  tmp_path: pathlib.Path,
) -> None:
  network = sd3_models.transformer()
  network.save_pretrained(tmp_path / "sd3/transformer")
  sd3_models.save_clips(tmp_path / "clips")
  imported = import_folder.run(
    "sd3",
    str(tmp_path / "sd3"),
    tmp_path / "out",
    fold_from=str(tmp_path / "clips"),
  )
  pooled = sd3_models.pooled_by_diffusers(tmp_path / "clips", "")
  with torch.no_grad():
    want = network.time_text_embed(torch.tensor(1000 * T), pooled.expand(2, -1))
  config, params = checkpoint.load_params(tmp_path / "out")
  embed = layers.TimeEmbed(config.model.width, jnp.float32)
  got = embed.apply({"params": params["time_embed"]}, T)
  close.assert_close(got, want.numpy())
  close.assert_close(_ours(tmp_path / "out"), _theirs(network, pooled))
  # The pooled text matters: with none of it the velocity is another.
  apart = _theirs(network, pooled) - _theirs(network, NO_POOLED)
  assert np.abs(apart).max() > 1e-2
  assert any("folded into" in line for line in imported.left_out)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_every_bit(
  dtype: str, tmp_path: pathlib.Path
) -> None:
  network = sd3_models.transformer().to(getattr(torch, dtype))
  network.save_pretrained(tmp_path / "sd3")
  import_folder.run("sd3", str(tmp_path / "sd3"), tmp_path / "own")
  import_folder.run(
    "sd3", str(tmp_path / "sd3"), tmp_path / "full", dtype="float32"
  )
  _, own = checkpoint.load_params(tmp_path / "own", ema=False)
  _, full = checkpoint.load_params(tmp_path / "full", ema=False)
  want = network.transformer_blocks[1].attn.to_q.weight.detach().float().numpy()
  for params, kept in ((own, dtype), (full, "float32")):
    kernel = params["blocks"]["image"]["q"]["kernel"]
    assert kernel.dtype == kept
    got = np.asarray(kernel[1], np.float32).reshape(len(want), -1).T
    np.testing.assert_array_equal(got, want)
