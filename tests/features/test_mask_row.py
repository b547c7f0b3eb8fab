"""The mask token's row: two file forms, and no code out of either."""

import os
import pathlib

import numpy as np
import pytest

from unialign_jax.convert import tensors
from unialign_jax.features import mask_row

ROW = np.arange(6, dtype=np.float32)


class Malicious:
  """Unpickling it makes a file."""

  def __init__(self, trace: pathlib.Path):
    self._trace = trace

  def __reduce__(self):
    return os.mkdir, (str(self._trace),)


def test_both_forms_are_read(tmp_path):
  torch = pytest.importorskip("torch")
  tensors.save(tmp_path, "row", {"mask": ROW[None]})
  torch.save(torch.tensor(ROW)[None], tmp_path / "row.00-of-01.pth")
  torch.save({"mask": torch.tensor(ROW).bfloat16()}, tmp_path / "named.pth")
  for name in ("row.safetensors", "row.00-of-01.pth", "named.pth"):
    np.testing.assert_array_equal(mask_row.read(tmp_path / name, 6), ROW)


def test_a_row_of_another_encoder_is_refused(tmp_path):
  tensors.save(tmp_path, "row", {"mask": ROW[:-1]})
  with pytest.raises(ValueError, match="expected one tensor of 6 numbers"):
    mask_row.read(tmp_path / "row.safetensors", 6)
  tensors.save(tmp_path, "row", {"mask": ROW, "more": ROW})
  with pytest.raises(ValueError, match="expected one tensor of 6 numbers"):
    mask_row.read(tmp_path / "row.safetensors", 6)


@pytest.mark.parametrize("content", [b"", b"not a tensor"])
def test_a_damaged_pth_file_is_refused(tmp_path, content):
  torch = pytest.importorskip("torch")
  path = tmp_path / "row.pth"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="Cannot read"):
    mask_row.read(path, 6)
  torch.save({"row": torch.tensor(ROW), "step": 3}, path)
  with pytest.raises(ValueError, match="holds a int, expected one tensor"):
    mask_row.read(path, 6)


def test_code_in_a_pth_file_does_not_run(tmp_path):
  torch = pytest.importorskip("torch")
  trace, path = tmp_path / "trace", tmp_path / "row.pth"
  torch.save({"row": torch.tensor(ROW), "more": Malicious(trace)}, path)
  with pytest.raises(ValueError, match=r"Cannot read .*row\.pth as tensors"):
    mask_row.read(path, 6)
  assert not trace.exists()
  torch.load(path, weights_only=False)
  assert trace.exists()  # it was no dud
