"""JSON from others: depth, constants, equal keys, size; and paths in it."""

import json
import os
import pathlib

import pytest

from tests.data.sources import written
from tests.features import test_manifest
from unialign_jax import strict_json
from unialign_jax.convert import encoder_folders
from unialign_jax.convert import read
from unialign_jax.convert import tensors
from unialign_jax.data.sources import base
from unialign_jax.data.sources import caption_text
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import imgedit_files
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import registry
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars
from unialign_jax.features import hub
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.use import jobs

DEPTHS = (strict_json.MAX_DEPTH + 1, 500, 100_000)


def nested(depth: int) -> str:
  return '{"a":[' * (depth // 2) + "{}" * (depth % 2) + "]}" * (depth // 2)


@pytest.mark.parametrize("function", [strict_json.document, strict_json.row])
def test_what_both_take_and_refuse(function):
  text = '{"a": [1, 2.5, null, true, "é"], "b": {}}'
  assert function(text) == function(text.encode()) == json.loads(text)
  deepest = nested(strict_json.MAX_DEPTH)
  assert function(deepest) == json.loads(deepest)
  wide = json.dumps([{"a": [n]} for n in range(3000)])
  assert function(wide) == json.loads(wide)
  for depth in DEPTHS:
    for data in (nested(depth), nested(depth).encode(), "[" * depth):
      with pytest.raises(ValueError):
        function(data)
  for bad in ("", "{", b"\xff\xff", "1 2", "9" * 5000):
    with pytest.raises(ValueError):
      function(bad)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_are_for_rows_alone(constant):
  text = f'{{"score": {constant}}}'
  with pytest.raises(ValueError, match=f"number {constant}"):
    strict_json.document(text)
  assert isinstance(strict_json.row(text)["score"], float)


def test_equal_keys_are_for_rows_alone():
  text = '{"a": {"b": 1, "b": 2}}'
  with pytest.raises(ValueError, match=r"keys \['b'\] twice"):
    strict_json.document(text)
  assert strict_json.row(text) == {"a": {"b": 2}}


def test_a_file_has_a_size(tmp_path, monkeypatch):
  path = tmp_path / "a.json"
  path.write_text("[1, 2, 3]")
  assert strict_json.read(path) == [1, 2, 3]
  monkeypatch.setattr(strict_json, "MAX_BYTES", 8)
  with pytest.raises(ValueError, match="more than 8 bytes"):
    strict_json.read(path)


DEEP = nested(100_000)


@pytest.mark.parametrize("text", [DEEP, "[" * 100_000, nested(500)])
def test_readers_of_documents_name_the_file(tmp_path, text):
  for name in (manifest_lib.FILENAME, "m.safetensors.index.json"):
    (tmp_path / name).write_text(text)
  with pytest.raises(manifest_lib.ManifestError, match=r"manifest\.json"):
    manifest_lib.load(tmp_path)
  for reader in (
    lambda: read.from_folder(tmp_path, "m"),
    lambda: tensors.Tensors(tmp_path, "m"),
    lambda: hub.weight_map(tmp_path, "m"),
  ):
    with pytest.raises(ValueError, match=r"index\.json.*nested more than"):
      reader()
  (tmp_path / "jobs.jsonl").write_text(text + "\n")
  with pytest.raises(ValueError, match=r"line 1.*nested more than"):
    jobs.read_jsonl(str(tmp_path / "jobs.jsonl"), ("prompt",))


@pytest.mark.parametrize("text", [DEEP, nested(500)])
def test_readers_of_rows_reject_the_row(tmp_path, text):
  path = tmp_path / "lists" / "0.jsonl"
  written.file(path.parent / "a.png", written.picture(1, "PNG"))
  row = {"image": ["a.png"], "conversations": [{"value": "a caption"}]}
  written.file(path, f"{text}\n{json.dumps(row)}\n")
  source = registry.open_source("unialign_jsonl", path.parent)
  assert source[0].reason == "damaged row" and source[1].caption == "a caption"
  with pytest.raises(rejection.Rejection, match="nested more than"):
    caption_text.from_json(text.encode())
  written.file(tmp_path / imgedit_files.SCORES, text)
  with pytest.raises(base.SourceError, match="nested more than"):
    imgedit_files.Grades(tmp_path)
  written.file(tmp_path / "0.json", f"[{text}]")
  with pytest.raises(ValueError, match=r"0\.json"):
    jsonl.List(tmp_path / "0.json")[0]


def test_a_line_has_a_size(tmp_path, monkeypatch):
  monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 30)
  written.file(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 30 + '"}\n')
  with pytest.raises(base.SourceError, match="line 2: got more than 30 bytes"):
    jsonl.Lines(tmp_path / "a.jsonl")
  written.file(tmp_path / "a.jsonl", '{"a": "' + "x" * 20 + '"}\n{"a": 2}\n')
  assert jsonl.Lines(tmp_path / "a.jsonl")[1] == {"a": 2}


def test_a_score_that_is_no_number_is_no_high_score():
  for score in (float("nan"), None, float("-inf")):
    with pytest.raises(rejection.Rejection):
      parquet_source.at_least({"q": score}, {"q": 5})
  parquet_source.at_least({"q": float("nan")}, {"q": 0})


MANIFEST = json.loads(manifest_lib.dumps(test_manifest.MANIFEST))


@pytest.mark.parametrize(
  "name",
  [
    "../other/shard-00000.arrayrecord",
    "/etc/shard-00000.arrayrecord",
    "a/shard-00000.arrayrecord",
    "..",
    "",
    "shard-00000.arrayrecord\0",
    "shard-00000.arrayrecord[0:9]",
    "gs://bucket/x.arrayrecord",
    "manifest.json",
  ],
)
def test_a_manifest_names_files_of_its_own_folder(tmp_path, name):
  shard = MANIFEST["shards"][0] | {"name": name}
  path = tmp_path / manifest_lib.FILENAME
  path.write_text(json.dumps(MANIFEST | {"shards": [shard]}))
  with pytest.raises(manifest_lib.ManifestError, match="expected a file name"):
    manifest_lib.load(tmp_path)
  path.write_text(
    json.dumps({"layout": MANIFEST["layout"], "shard": shard, "rejects": []})
  )
  with pytest.raises(manifest_lib.ManifestError, match="expected a file name"):
    manifest_lib.load_entry(path)


@pytest.mark.parametrize(
  "change",
  [
    lambda text: text.replace('"text_length": 32', '"text_length": NaN'),
    lambda text: text.replace('"text_length": 32', '"text_length": true'),
    lambda text: text.replace('"seed"', '"seed": 1, "seed"'),
    lambda text: text.replace('"records": ', '"records": -'),
  ],
  ids=["NaN", "true", "twice", "negative"],
)
def test_numbers_of_a_manifest_are_what_they_say(tmp_path, change):
  text = json.dumps(MANIFEST)
  assert change(text) != text
  (tmp_path / manifest_lib.FILENAME).write_text(change(text))
  with pytest.raises(manifest_lib.ManifestError, match="is damaged"):
    manifest_lib.load(tmp_path)


@pytest.mark.parametrize(
  "name",
  [
    "../secret.safetensors",
    "/etc/secret.safetensors",
    "a/b.safetensors",
    "..",
    ".hidden.safetensors",
    "model.bin",
    "model.safetensors\n",
    7,
    None,
  ],
)
def test_an_index_names_safetensors_of_its_own_folder(tmp_path, name):
  tensors.save(tmp_path, "secret", {})
  folder = tmp_path / "model"
  folder.mkdir()
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": {"a": name}}))
  for reader in (
    lambda: read.from_folder(folder, "model"),
    lambda: tensors.Tensors(folder, "model"),
    lambda: hub.weight_map(folder, "model"),
    lambda: hub.weights(folder, stem="model"),
  ):
    with pytest.raises(ValueError, match="same folder"):
      reader()


def test_a_copy_of_an_encoder_writes_nothing_elsewhere(tmp_path):
  source, out = tmp_path / "in" / "vae", tmp_path / "out" / "vae"
  stem = "diffusion_pytorch_model"
  tensors.save(tmp_path / "in", "planted", {})
  source.mkdir()
  out.parent.mkdir()
  (source / "config.json").write_text("{}")
  name = "../planted.safetensors"
  (source / f"{stem}.safetensors.index.json").write_text(
    json.dumps({"weight_map": {"a": name}})
  )
  with pytest.raises(ValueError, match="same folder"):
    encoder_folders._copy_weights(source, out, stem)
  assert not [p for p in out.parent.rglob("*") if p.is_file()]


HOSTILE_PATHS = (
  *("../secret.png", "/etc/hostname", "a/../../secret.png", "~/secret.png"),
  *("x" * 5000, "x/" * 3000, "a\0b", "\ud800.png", "pipe.png", "folder"),
)


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
  """A data set's folder with a secret beside it and a pipe in it."""
  written.file(tmp_path / "secret.png", written.picture(9, "PNG"))
  written.file(tmp_path / "data" / "a.png", written.picture(1, "PNG"))
  (tmp_path / "data" / "folder").mkdir()
  os.mkfifo(tmp_path / "data" / "pipe.png")
  return tmp_path / "data"


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_in_a_list_leads_nowhere_else(data, path):
  row = {"image": [path], "conversations": [{"value": "a caption"}]}
  written.json_lines(data / "0.jsonl", [row])
  item = decoded.Decoded(registry.open_source("unialign_jsonl", data), side=8)[
    0
  ]
  assert isinstance(item, base.Rejected) and item.reason == "missing file"
  item.detail.encode()
  with pytest.raises(KeyError):
    tars.Tree(data).read(path)


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_in_metadata_leads_nowhere_else(data, path):
  row = {"file_name": path, "text": "a caption"}
  written.json_lines(data / "metadata.jsonl", [row])
  source = decoded.Decoded(registry.open_source("folder", data), side=8)
  items = [source[n] for n in range(len(source))]
  assert all(isinstance(item, base.Rejected) for item in items)
  assert {item.reason for item in items} <= {"missing file", "no caption"}


def test_a_picture_file_has_a_size(data, monkeypatch):
  monkeypatch.setattr(dataset_files, "MAX_FILE_BYTES", 50)
  (data / "a.txt").write_text("a caption")
  item = registry.open_source("folder", data)[0]
  assert item.reason == "too large" and "a.png" in item.detail


def test_links_within_a_data_set_are_followed(data, tmp_path):
  """Users keep parts of a data set on other disks."""
  written.file(tmp_path / "disk" / "b.png", written.picture(2, "PNG"))
  (data / "part").symlink_to(tmp_path / "disk")
  assert tars.Tree(data).read("part/b.png") == written.picture(2, "PNG")


@pytest.mark.parametrize("text", ["a\udcff", "\ud800"])
def test_texts_that_utf8_cannot_hold_are_rejected(data, text):
  row = {"image": ["a.png"], "conversations": [{"value": text}]}
  written.json_lines(data / "0.jsonl", [row])
  item = decoded.Decoded(registry.open_source("unialign_jsonl", data), side=8)[
    0
  ]
  assert item.reason == "not UTF-8" and "\\ud" in item.detail
  for told in (item.key, item.source, item.detail):
    told.encode()
