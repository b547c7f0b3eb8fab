"""Exported folders hold the weights bit for bit, whole or not at all."""

import json
import pathlib
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import pytest
import safetensors

from tests.convert import exporting
from unialign_jax.convert import export_folder
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import tensors
from unialign_jax.convert import transformer_config

TARGETS = transformer_config.TARGETS


def _write(out: pathlib.Path, **settings: Any) -> list[str]:
  config, params = exporting.small()
  settings = {"target": "unialignment", **settings}
  return export_folder.write(out, config, params, exporting.ORIGIN, **settings)


def _read(out: pathlib.Path, wanted: Any) -> dict[str, np.ndarray]:
  """The folder through the same table backwards, by path."""
  config, _ = exporting.small()
  stored = tensors.Tensors(out / "transformer", export_folder.STEM)
  rules = mmdit_table.rules(config.model)
  params = mapping.to_flax(rules, stored, wanted)
  return flax.traverse_util.flatten_dict(params, sep="/")


def _wanted(target: str, dtype: str) -> Any:
  _, params = exporting.small()
  if target == "dual_diffusion":
    params = {k: v for k, v in params.items() if not k.startswith("align_")}
  return jax.tree.map(lambda x: x.astype(export_folder.DTYPES[dtype]), params)


def _nothing_but(folder: pathlib.Path, *names: str) -> None:
  assert sorted(p.name for p in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("dtype", export_folder.DTYPES)
@pytest.mark.parametrize("target", TARGETS)
def test_reading_back_gives_the_same_bits(
  tmp_path: pathlib.Path, target: str, dtype: str
):
  _write(tmp_path / "out", target=target, dtype=dtype)
  want = _wanted(target, dtype)
  got = _read(tmp_path / "out", want)
  want = flax.traverse_util.flatten_dict(want, sep="/")
  assert sorted(got) == sorted(want)
  for path, leaf in want.items():
    assert got[path].dtype == leaf.dtype
    assert got[path].tobytes() == leaf.tobytes(), path
  _nothing_but(tmp_path, "out")


def test_shards_hold_what_one_file_holds(tmp_path: pathlib.Path):
  _write(tmp_path / "one")
  _write(tmp_path / "many", max_bytes=20_000)
  one = tensors.Tensors(tmp_path / "one/transformer", export_folder.STEM)
  many = tensors.Tensors(tmp_path / "many/transformer", export_folder.STEM)
  assert sorted(one) == sorted(many)
  for name in one:
    np.testing.assert_array_equal(one[name], many[name])
  files = sorted((tmp_path / "many/transformer").glob("*.safetensors"))
  assert len(files) > 3
  total = 0
  for number, file in enumerate(files, start=1):
    assert file.name == (
      f"{export_folder.STEM}-{number:05}-of-{len(files):05}.safetensors"
    )
    with safetensors.safe_open(file, framework="numpy") as shard:
      sizes = [shard.get_tensor(name).nbytes for name in shard.keys()]  # noqa: SIM118
    assert 0 < sum(sizes) <= 20_000 or len(sizes) == 1
    total += sum(sizes)
  (index,) = (tmp_path / "many/transformer").glob("*.index.json")
  stated = json.loads(index.read_text())
  assert stated["metadata"]["total_size"] == total


def test_files_and_card_say_where_the_weights_come_from(
  tmp_path: pathlib.Path,
):
  _write(tmp_path / "out", target="diffusers")
  file = tmp_path / f"out/transformer/{export_folder.STEM}.safetensors"
  with safetensors.safe_open(file, framework="numpy") as opened:
    metadata = opened.metadata()
  assert metadata == {
    "format": "pt",
    "run": "runs/small",
    "step": "7",
    "weights": "ema",
    "dtype": "float32",
  }
  card = (tmp_path / "out/README.md").read_text()
  assert "runs/small, step 7" in card
  assert "trust_remote_code=True" in card
  _, params = exporting.small()
  total = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert f"{total:,}" in card


def test_config_names_the_network(tmp_path: pathlib.Path):
  _write(tmp_path / "out")
  got = json.loads((tmp_path / "out/transformer/config.json").read_text())
  assert got["_class_name"] == "SD3JointModelFlexible"
  assert got["vocab_size"] == 230
  assert got["num_layers"] == 2
  assert got["num_attention_heads"] * got["attention_head_dim"] == 32
  assert got["sample_size"] == 4 * 2  # the base grid in latents
  assert got["pos_embed_max_size"] == 4
  assert got["qk_norm"] is None
  assert (got["align_depth"], got["null_image_tokens"]) == (1, 4)


def test_a_reader_is_told_what_the_published_class_differs_in(
  tmp_path: pathlib.Path,
):
  notes = _write(tmp_path / "out")
  assert any("null_image_embd has 4 tokens" in note for note in notes)
  assert any("adapters" in note for note in notes)
  card = (tmp_path / "out/README.md").read_text()
  for note in notes:
    assert note in card
  assert not _write(tmp_path / "other", target="diffusers")


@pytest.mark.parametrize(
  "model, target, message",
  [
    ({"qk_norm": True}, "unialignment", "qk_norm.*use --target=diffusers"),
    ({"mlp_ratio": 2}, "diffusers", "mlp_ratio: got 2, expected 4"),
  ],
)
def test_what_a_class_cannot_hold_is_refused(
  tmp_path: pathlib.Path, model: dict, target: str, message: str
):
  config = exporting.config(**model)
  params = exporting.random_params(config.model)
  with pytest.raises(ValueError, match=message):
    export_folder.write(
      tmp_path / "out", config, params, exporting.ORIGIN, target=target
    )
  _nothing_but(tmp_path)


def test_weights_of_another_width_are_refused(tmp_path: pathlib.Path):
  config = exporting.config(width=64)
  _, params = exporting.small()
  with pytest.raises(ValueError, match=r"blocks/image/q/kernel: got .*32"):
    export_folder.write(
      tmp_path / "out", config, params, exporting.ORIGIN, target="diffusers"
    )
  _nothing_but(tmp_path)


@pytest.mark.parametrize(
  "value, dtype", [(np.nan, "fp32"), (1e6, "fp16")], ids=["nan", "overflow"]
)
def test_numbers_that_are_not_finite_are_refused(
  tmp_path: pathlib.Path, value: float, dtype: str
):
  config, params = exporting.small()
  params = jax.tree.map(np.copy, params)
  params["text_head"]["proj"]["bias"][3] = value
  with pytest.raises(ValueError, match=r"text_proj_out\.bias: got numbers"):
    export_folder.write(
      tmp_path / "out",
      config,
      params,
      exporting.ORIGIN,
      target="unialignment",
      dtype=dtype,
    )
  _nothing_but(tmp_path)


def test_a_folder_in_use_stays_as_it_was(tmp_path: pathlib.Path):
  out = tmp_path / "out"
  out.mkdir()
  (out / "mine.txt").write_text("precious")
  with pytest.raises(ValueError, match=r"--out: .* is in use"):
    _write(out)
  _nothing_but(tmp_path, "out")
  _nothing_but(out, "mine.txt")


def test_an_empty_folder_is_filled(tmp_path: pathlib.Path):
  (tmp_path / "out").mkdir()
  _write(tmp_path / "out")
  _nothing_but(tmp_path / "out", "README.md", "transformer")
