"""Weights in: sources, errors, and that nothing is written when one occurs."""

import dataclasses
import json
import pathlib
import re

import jax
import numpy as np
import pytest

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.convert import import_folder
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import tensors
from unialign_jax.models import mmdit

STEM = "diffusion_pytorch_model"
MODEL = mmdit.MMDiTConfig(
  in_channels=4,
  width=16,
  depth=2,
  num_heads=2,
  text_dim=6,
  vocab_size=10,
  pos_embed_size=8,
  pos_embed_base=4,
  align_depth=2,
  align_hidden=12,
  semantic_dim=7,
)
DESCRIBED = {
  "num_layers": 2,
  "num_attention_heads": 2,
  "attention_head_dim": 8,
  "caption_projection_dim": 16,
  "joint_attention_dim": 6,
  "sample_size": 8,
  "pos_embed_max_size": 8,
  "align_depth": 2,
}


def _params() -> dict:
  inputs = np.zeros((1, 2, 2, 4)), np.zeros((1, 1, 6)), np.zeros(1)
  inputs = tuple(x.astype(np.float32) for x in inputs)
  shapes = jax.eval_shape(mmdit.MMDiT(MODEL).init, jax.random.key(0), *inputs)[
    "params"
  ]
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), shapes
  )


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  """The authors' layout: a pipeline folder with a sharded transformer."""
  found = tmp_path / "model" / "transformer"
  state = mapping.to_torch(mmdit_table.rules(MODEL), _params())
  _save(found, state | mmdit_table.buffers(MODEL))
  return found


def _save(folder: pathlib.Path, state: dict[str, np.ndarray]) -> None:
  names, weight_map = sorted(state), {}
  for i in range(3):
    part = names[i::3]
    path = tensors.save(folder, f"{STEM}-{i}", {n: state[n] for n in part})
    weight_map |= dict.fromkeys(part, path.name)
  index = {"weight_map": weight_map}
  (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))
  (folder / "config.json").write_text(json.dumps(DESCRIBED))


def _state(folder: pathlib.Path) -> dict[str, np.ndarray]:
  return dict(tensors.Tensors(folder, STEM))


def _run(folder: pathlib.Path, source: str = "unialignment"):
  out = folder.parents[1] / "out"
  return import_folder.run(source, str(folder.parent), out), out


def _fails(folder: pathlib.Path, match: str, **kwargs) -> None:
  with pytest.raises(ValueError, match=match):
    _run(folder, **kwargs)
  assert not (folder.parents[1] / "out").exists()


@pytest.mark.parametrize("inner", ["", "transformer"])
def test_a_folder_of_the_authors_returns_every_bit(
  folder: pathlib.Path, inner: str
) -> None:
  out = folder.parents[1] / "out"
  imported = import_folder.run("unialignment", str(folder.parent / inner), out)
  assert not imported.new
  assert not imported.left_out
  for ema in (True, False):
    config, params = checkpoint.load_params(out, ema=ema)
    jax.tree.map(np.testing.assert_array_equal, params, _params())
  assert _shape(config.model) == _shape(MODEL)
  assert config.data.mask_id == 9
  assert config.data.resolution == 8 * 2 * config.data.latent_factor
  checkpoint.check_start(out, config)
  assert json.loads((out / "weights.json").read_text())["source"] == (
    "unialignment"
  )


def _shape(model: mmdit.MMDiTConfig) -> dict:
  saved = dataclasses.asdict(model)
  return {k: v for k, v in saved.items() if k not in ("dtype",)}


def test_dual_diffusion_begins_with_fresh_alignment_heads(
  folder: pathlib.Path,
) -> None:
  state = _state(folder)
  _save(folder, {k: v for k, v in state.items() if "adapter" not in k})
  imported, out = _run(folder, source="dual_diffusion")
  assert len(imported.new) == 8
  assert all("alignment heads" in line for line in imported.new)
  _, params = checkpoint.load_params(out)
  want = _params()
  for name in want:
    if not name.startswith("align_"):
      jax.tree.map(np.testing.assert_array_equal, params[name], want[name])
  kernel = np.asarray(params["align_image"]["fc_in"]["kernel"])
  base = config_lib.load_file("base.py").model
  assert kernel.shape == (16, base.align_hidden)
  assert 0.5 < kernel.std() * np.sqrt(16) < 1.5  # as flax draws it


def test_all_mismatches_come_at_once_and_under_both_names(
  folder: pathlib.Path,
) -> None:
  state = _state(folder)
  del state["transformer_blocks.1.attn.to_q.bias"]
  state["image_proj_out.weight"] = np.zeros((16, 15), np.float32)
  state["surprise"] = np.zeros(3, np.float32)
  state["pos_embed.pos_embed"] = state["pos_embed.pos_embed"] * 1.5
  _save(folder, state)
  with pytest.raises(ValueError) as caught:
    _run(folder)
  message = str(caught.value)
  for part in (
    "4 problems",
    "missing: transformer_blocks.1.attn.to_q.bias <-> blocks/image/q/bias[1]",
    "wrong shape: image_proj_out.weight <-> image_head/proj/kernel",
    "unexpected: surprise",
    "pos_embed.pos_embed: got a table",
  ):
    assert part in message
  assert not (folder.parents[1] / "out").exists()


def test_half_an_adapter_is_missing_not_new(folder: pathlib.Path) -> None:
  state = _state(folder)
  del state["siglip_adapter_img.fc.0.bias"]
  _save(folder, state)
  _fails(
    folder, r"missing: siglip_adapter_img\.fc\.0\.bias", source="dual_diffusion"
  )


def test_a_truncated_file_is_refused(folder: pathlib.Path) -> None:
  path = folder / f"{STEM}-1.safetensors"
  path.write_bytes(path.read_bytes()[:-100])
  _fails(folder, rf"cannot read .*{STEM}-1\.safetensors.*Download")


def test_damaged_files_are_all_named(folder: pathlib.Path) -> None:
  for i in (0, 2):
    (folder / f"{STEM}-{i}.safetensors").write_bytes(b"\xff" * 64)
  _fails(folder, r"-0\.safetensors(.|\n)*-2\.safetensors")


def test_a_missing_shard_is_named(folder: pathlib.Path) -> None:
  (folder / f"{STEM}-2.safetensors").unlink()
  _fails(folder, rf"{STEM}-2\.safetensors")


def test_weights_of_another_width_are_refused(folder: pathlib.Path) -> None:
  text = json.dumps(DESCRIBED | {"caption_projection_dim": 32})
  (folder / "config.json").write_text(text)
  _fails(folder, r"caption_projection_dim = 32, the tensors 16")


def test_dual_attention_with_a_gap_is_refused(folder: pathlib.Path) -> None:
  state = _state(folder)
  state["transformer_blocks.1.attn2.to_q.weight"] = np.zeros((16, 16))
  _save(folder, {k: v.astype(np.float32) for k, v in state.items()})
  _fails(folder, r"dual_attention_layers: got \[1\], expected the first blocks")


def test_what_cannot_be_asked_for_is_refused_first(
  folder: pathlib.Path,
) -> None:
  with pytest.raises(ValueError, match="--fold-pooled: got --source=unialign"):
    import_folder.run(
      "unialignment", str(folder), folder / "out", fold_from="clips"
    )
  with pytest.raises(ValueError, match=re.escape(f"{folder} is in use")):
    import_folder.run("unialignment", str(folder), folder)
  _fails(folder, "--source=dual_diffusion or unialignment", source="sd3")
