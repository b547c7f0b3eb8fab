"""A folder in diffusers layout draws and writes what its run does."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unialign_jax import config as config_lib
from unialign_jax import pipeline
from unialign_jax.convert import export_folder
from unialign_jax.convert import model_card
from unialign_jax.features import hub
from unialign_jax.use import exported
from unialign_jax.use import loading

_ORIGIN = model_card.Origin(run="run", step=0, weights="ema", dtype="float32")


@pytest.fixture(scope="module")
def folder(
  tmp_path_factory: pytest.TempPathFactory,
  model: tuple[config_lib.Config, Any],
) -> pathlib.Path:
  out = tmp_path_factory.mktemp("out") / "exported"
  export_folder.write(out, *model, _ORIGIN, target="diffusers")
  return out


def test_it_is_the_run(
  folder: pathlib.Path, pipe: pipeline.Pipeline, photo: Image.Image
):
  got = pipeline.Pipeline.load(folder)
  assert got.image_settings == pipe.image_settings
  assert got.text_settings == pipe.text_settings
  for one, other in (
    (got.generate("a ring", n=2), pipe.generate("a ring", n=2)),
    (got.edit(photo, "red"), pipe.edit(photo, "red")),
  ):
    apart = np.stack(one).astype(int) - np.stack(other).astype(int)
    assert np.abs(apart).max() <= 1
  greedy = {"temperature": 0.0, "schedule": "confidence", "steps": 3}
  assert got.caption(photo, **greedy) == pipe.caption(photo, **greedy)


def test_a_transformer_alone_needs_encoders(
  model: tuple[config_lib.Config, Any], tmp_path: pathlib.Path
):
  config, params = model
  out = tmp_path / "exported"
  export_folder.write(out, config, params, _ORIGIN, target="dual_diffusion")
  with pytest.raises(ValueError, match=r"encoders\.text: got none"):
    pipeline.Pipeline.load(out)
  named = {
    key: getattr(config.encoders, key) for key in ("text", "tokenizer", "image")
  }
  loaded = pipeline.Pipeline.load(out, **named)
  assert loaded.image_settings.steps == 28
  network, _ = loading.load(out)
  assert network.config.null_image_tokens == config.model.null_image_tokens


def test_what_is_no_model_is_said(folder: pathlib.Path, tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="no folder here and no hub id"):
    pipeline.Pipeline.load(tmp_path / "nothing")
  path = folder / "transformer/config.json"
  whole = path.read_text()
  described = json.loads(whole)
  del described["num_layers"]
  path.write_text(json.dumps(described))
  with pytest.raises(ValueError, match="num_layers"):
    loading.load(folder)
  path.write_text(whole)


def test_a_hub_id_is_such_a_folder(
  folder: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
  model: tuple[config_lib.Config, Any],
):
  asked = []

  def fetch(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
    asked.append((repo, revision, *allow_patterns))
    return str(folder)

  monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", fetch)
  described = exported.describe("owner/model@v1")
  network, _ = exported.load_network("owner/model@v1", None)
  assert described.resolution == model[0].data.resolution
  assert described.encoders["text"] == str(folder / "text_encoder_3")
  assert network.depth == model[0].model.depth
  assert {one[:2] for one in asked} == {("owner/model", "v1")}
  fetched = {name for one in asked for name in one[2:]}
  assert "transformer/diffusion_pytorch_model.safetensors" in fetched
  assert "vae/config.json" in fetched


def test_half_precision_files_stay_half(
  model: tuple[config_lib.Config, Any], tmp_path: pathlib.Path
):
  out = tmp_path / "exported"
  export_folder.write(out, *model, _ORIGIN, target="diffusers", dtype="bf16")
  network, params = exported.load_network(out, None)
  assert network.dtype == "bfloat16"
  assert params["context_embed"]["kernel"].dtype.itemsize == 2
  network, params = exported.load_network(out, "float32")
  assert params["context_embed"]["kernel"].dtype == np.float32
