"""The measures of low precision, on the shipped model."""

import re

import jax
import pytest

from unialign_jax.shapes import by_layer
from unialign_jax.shapes import by_precision
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import loading


def _load(dtype: str, quantize: str | None) -> loading.Loaded:
  return loading.load_all(
    loading.SHIPPED,
    dtype=dtype,
    step=None,
    ema=True,
    encoders={},
    quantize=quantize,
  )


@pytest.fixture(scope="module")
def loaded() -> loading.Loaded:
  return _load("float32", None)


@pytest.fixture(scope="module")
def exam() -> exam_lib.Exam:
  return exam_lib.make(8, 1, feature_sets.WORLD)


def test_every_dense_layer_is_measured(loaded: loading.Loaded):
  for params, is_text in ((loaded.params, False), (loaded.text.params, True)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      name = "/".join(key.key for key in path)
      if not name.endswith("/kernel"):
        continue
      rows = [
        (layer, dims)
        for layer, (pattern, dims) in by_layer.LAYERS.items()
        if re.fullmatch(f"{pattern}/kernel", name)
      ]
      assert len(rows) == 1, name
      layer, dims = rows[0]
      assert layer.startswith("T5") == is_text and len(dims) == leaf.ndim


def _percents(cell: str) -> tuple[float, float]:
  """Errors of the velocity and of the logits."""
  first, second = re.findall(r"([\d.]+)%", cell)
  return float(first), float(second)


def test_errors_of_the_trained_network(
  loaded: loading.Loaded,
  exam: exam_lib.Exam,
  monkeypatch: pytest.MonkeyPatch,
):
  name = "text head"
  monkeypatch.setattr(by_layer, "LAYERS", {name: by_layer.LAYERS[name]})
  table = by_layer.table(loaded, _load("bfloat16", None), exam)
  head, _, alone, together, chosen, half = (
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in table.splitlines()
  )
  assert head[2:] == ["int8, kernel", "int8, both", "fp8, both"]
  assert alone[0] == name and float(alone[1][:-1]) == pytest.approx(2.32)
  assert alone[2:] == together[2:]
  kernel, both, fp8 = map(_percents, alone[2:])
  # It does nothing to the picture.
  assert kernel[0] == both[0] == fp8[0] == 0
  assert 0.2 < kernel[1] < both[1] < fp8[1] < 5
  int8, fp8 = map(_percents, chosen[3:])
  assert 0.5 < int8[0] < 2.5 and 0.3 < int8[1] < 2
  assert int8[0] < fp8[0] < 6 and int8[1] < fp8[1] < 4
  assert min(_percents(half[2])) > 0.3 and max(_percents(half[2])) < 2


def test_a_table_of_scores(
  exam: exam_lib.Exam, monkeypatch: pytest.MonkeyPatch
):
  forms = (("float32", None), ("float32", "int8"))
  monkeypatch.setattr(by_precision, "FORMS", forms)
  _, _, full, low = (
    line.strip("| ").split(" | ")
    for line in by_precision.table(_load, exam, 8).splitlines()
  )
  assert full[:2] == ["float32", ""] and low[:2] == ["float32", "int8"]
  sizes = [[float(size) for size in row[2].split(",")] for row in (full, low)]
  for before, after in zip(*sizes):
    assert 0.25 < after / before < 0.35
  assert float(full[4]) == 0 < float(low[4]) < 4
  assert float(full[7]) == 1
  # The shipped model draws and says what it is told, in either.
  for row in (full, low):
    assert min(float(row[3]), float(row[5]), float(row[6])) >= 0.5
