"""Weights from others: lying headers are refused, and code never runs."""

import json
import os
import pathlib
import struct

import numpy as np
import pytest
import safetensors.numpy

from tests.security import limited
from unialign_jax.convert import read
from unialign_jax.convert import tensors
from unialign_jax.features import hub
from unialign_jax.features import mask_row

MB = 10**6


def file_of(header: object, data: bytes = bytes(16)) -> bytes:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + data


def tensor(
  dtype: str = "F32", shape: tuple[int, ...] = (4,), place=(0, 16)
) -> dict:
  return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}


LIES = {
  "empty": b"",
  "no header": b"\0" * 7,
  "longest header": struct.pack("<Q", 2**64 - 1) + b"{}",
  "header past the end": struct.pack("<Q", 10**9) + b"{}",
  "header of 90 MB that is not there": struct.pack("<Q", 90 * MB) + b"{}",
  "no JSON": file_of(b"not JSON"),
  "a list": file_of(b"[]"),
  "not UTF-8": file_of(b'{"\xff": 1}'),
  "deep": file_of(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
  "deep metadata": file_of(b'{"__metadata__":{"a":' + b"[" * 50_000),
  "overlap": file_of({"a": tensor(), "b": tensor()}),
  "past the end": file_of({"a": tensor(shape=(8,), place=(0, 32))}),
  "before the beginning": file_of({"a": tensor(place=(-16, 0))}),
  "backwards": file_of({"a": tensor(place=(16, 0))}),
  "hole": file_of({"a": tensor(place=(8, 16), shape=(2,))}),
  "larger than it is": file_of({"a": tensor(shape=(2**40,))}),
  "larger than numbers": file_of({"a": tensor(shape=(2**62, 2**62))}),
  "negative": file_of({"a": tensor(shape=(-4,))}),
  "another dtype": file_of({"a": tensor("F64")}),
  "unknown dtype": file_of({"a": tensor("F33")}),
  "no place": file_of({"a": {"dtype": "F32", "shape": [4]}}),
  "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
  "a zip": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_by_every_reader(tmp_path, lie):
  path = tmp_path / "m.safetensors"
  path.write_bytes(LIES[lie])
  for reader in (
    lambda: read.from_file(path),
    lambda: read.from_folder(tmp_path, "m"),
    lambda: read.Streamed({"a": path}),
    lambda: tensors.Tensors(tmp_path, "m"),
    lambda: hub.weights(tmp_path, stem="m"),
    lambda: mask_row.read(path, 4),
  ):
    with pytest.raises(ValueError, match=r"m\.safetensors"):
      reader()


_SCRIPT = """
import pathlib, tempfile
import numpy as np
from unialign_jax.convert import read
from tests.security import test_weights
def attempt(data):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "m.safetensors"
    path.write_bytes(data)
    try:
      read.from_file(path)
    except ValueError:
      return
    raise AssertionError(data[:80])
attempt(b"")
# limited
for data in test_weights.LIES.values():
  attempt(data)
"""


def test_lies_cost_no_memory():
  assert limited.run(_SCRIPT, extra_bytes=256 * 2**20) < 50 * MB


def test_empty_and_huge_shapes_are_one_error(tmp_path):
  """No number of it is stored, and numpy cannot count the elements."""
  path = tmp_path / "m.safetensors"
  path.write_bytes(
    file_of({"a": tensor(shape=(2**62, 0, 2**62), place=(0, 0))}, b"")
  )
  for weights in (read.from_file(path), tensors.Tensors(tmp_path, "m")):
    with pytest.raises(ValueError, match=r"annot read 'a' (of|in) "):
      weights["a"]


class Planted:
  """Unpickling it makes a folder."""

  def __init__(self, trace: pathlib.Path):
    self._trace = trace

  def __reduce__(self):
    return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize(
  "name",
  [
    "pytorch_model.bin",
    "model.pt",
    "model.pth",
    "model.ckpt",
    "flax_model.msgpack",
  ],
)
def test_pickles_in_a_folder_of_weights_are_not_read(tmp_path, name):
  torch = pytest.importorskip("torch")
  folder, trace = tmp_path / "model", tmp_path / "trace"
  folder.mkdir()
  (folder / "config.json").write_text("{}")
  torch.save({"a": Planted(trace)}, folder / name)
  for reader in (
    lambda: hub.weights(folder, stem="model"),
    lambda: tensors.Tensors(folder, "model"),
    lambda: read.from_folder(folder, "model"),
  ):
    with pytest.raises(ValueError):
      reader()
  assert not trace.exists()


def test_a_pickle_under_the_name_of_safetensors_does_not_run(tmp_path):
  torch = pytest.importorskip("torch")
  trace = tmp_path / "trace"
  torch.save({"a": Planted(trace)}, tmp_path / "model.safetensors")
  with pytest.raises(ValueError, match=r"model\.safetensors"):
    hub.weights(tmp_path, stem="model")
  assert not trace.exists()


@pytest.mark.parametrize("cut", [1, 100, 300])
def test_damaged_pth_files_are_one_error(tmp_path, cut):
  torch = pytest.importorskip("torch")
  path = tmp_path / "row.pth"
  torch.save(torch.ones(6), path)
  data = path.read_bytes()
  for damaged in (data[:cut], data[:cut] + b"\xff\x80" + data[cut + 2 :]):
    path.write_bytes(damaged)
    try:
      assert mask_row.read(path, 6).shape == (6,)
    except ValueError as error:
      assert "row.pth" in str(error)


def test_what_is_right_is_read(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.numpy.save_file({"a": np.arange(4, dtype=np.float32)}, path)
  np.testing.assert_array_equal(read.from_file(path)["a"], [0, 1, 2, 3])
