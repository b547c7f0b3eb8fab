"""The measures of low precision, on the shipped model."""

import re

import jax
import pytest

from unialign_jax.shapes import by_layer
from unialign_jax.shapes import by_precision
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import loading
from unialign_jax.use import quantise


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


def test_errors_of_the_trained_network(
  loaded: loading.Loaded, exam: exam_lib.Exam
):
  inputs = by_layer.make_inputs(loaded, exam)
  exact = by_layer.evaluate(loaded, inputs, None, ())

  def errors(quantize: str, rows: tuple[quantise.Row, ...]) -> list[float]:
    found = by_layer.evaluate(loaded, inputs, quantize, rows)
    return [by_layer.relative(f, e) for f, e in zip(found, exact)]

  int8, fp8 = (errors(name, quantise.TABLE) for name in quantise.TYPES)
  assert 0.005 < int8[0] < 0.025 and 0.003 < int8[1] < 0.02
  assert int8[0] < fp8[0] < 0.06 and int8[1] < fp8[1] < 0.04
  kernels = tuple(row._replace(inputs=False) for row in quantise.TABLE)
  alone = errors("int8", kernels)
  assert alone[0] < int8[0] and alone[1] < int8[1]


def test_a_table_by_layer(
  loaded: loading.Loaded,
  exam: exam_lib.Exam,
  monkeypatch: pytest.MonkeyPatch,
):
  names, half = ("text head", "patches"), _load("bfloat16", None)
  layers = {name: by_layer.LAYERS[name] for name in names}
  monkeypatch.setattr(by_layer, "LAYERS", layers)
  head, _, *rows = (
    line.strip("| ").split(" | ")
    for line in by_layer.table(loaded, half, exam).splitlines()
  )
  assert head[2:] == ["int8, kernel", "int8, both", "fp8, both"]
  assert [row[0] for row in rows[:-1]] == [
    *names,
    "all of these",
    "**as chosen**",
  ]
  assert (
    0 < float(rows[-1][-1].strip("| ").split("%")[0]) < 3
  )  # bfloat16, the velocity
  # The text head does nothing to the picture.
  assert all(cell.startswith("0.00% ") for cell in rows[0][2:])
  assert not any(cell.startswith("0.00% ") for cell in rows[1][2:])
  assert not any(cell.endswith(" 0.00%") for cell in rows[0][2:])


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
