"""A pipeline in int8 or fp8, from Python and from a shell."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from unialign_jax import pipeline
from unialign_jax import sharding
from unialign_jax.use import loading
from unialign_jax.use import outputs


def _pixels(images: list[Image.Image]) -> np.ndarray:
  return np.stack([np.asarray(image) for image in images]).astype(int)


@pytest.fixture(scope="module")
def loaded(workdir: pathlib.Path) -> loading.Loaded:
  return loading.load_all(
    workdir, dtype=None, step=None, ema=True, encoders={}, quantize="int8"
  )


@pytest.fixture(scope="module")
def low(loaded: loading.Loaded) -> pipeline.Pipeline:
  return pipeline.Pipeline(loaded)


def test_a_quarter_of_the_bytes(
  low: pipeline.Pipeline, pipe: pipeline.Pipeline
):
  for part in ("_params", "_text_params"):
    sizes = [
      sum(x.nbytes for x in jax.tree.leaves(getattr(p._networks, part)))
      for p in (low, pipe)
    ]
    assert 0.25 < sizes[0] / sizes[1] < 0.4


def test_the_pipeline_runs_on_a_mesh(
  loaded: loading.Loaded, low: pipeline.Pipeline, pipe: pipeline.Pipeline
):
  """As far from full precision, not the same: last bits decide a rounding."""
  shared = pipeline.Pipeline(loaded, mesh=sharding.make_mesh(2, 2, 2))
  words = ["a red circle", "a ring"]
  got, want, exact = (
    _pixels(p.generate(words, n=3)) for p in (shared, low, pipe)
  )
  errors = [np.abs(found - exact).mean() for found in (got, want)]
  assert 0.6 < errors[0] / errors[1] < 1.7
  assert np.abs(got - want).mean() < 1.5 * max(errors)


def test_it_is_close_and_not_the_same(
  low: pipeline.Pipeline, pipe: pipeline.Pipeline
):
  apart = np.abs(
    _pixels(low.generate("a ring", n=4)) - _pixels(pipe.generate("a ring", n=4))
  )
  assert 0 < apart.mean() < 4


def test_half_precision_takes_it_too(
  workdir: pathlib.Path, pipe: pipeline.Pipeline
):
  half = pipeline.Pipeline.load(workdir, dtype="bfloat16", quantize="fp8")
  apart = np.abs(
    _pixels(half.generate("a ring", n=4))
    - _pixels(pipe.generate("a ring", n=4))
  )
  assert 0 < apart.mean() < 8


@pytest.mark.parametrize("quantize", ["int4", "", "INT8"])
def test_what_there_is_not_is_one_message(workdir: pathlib.Path, quantize: str):
  with pytest.raises(
    ValueError, match=r"quantize: got .*'int8', 'fp8'"
  ) as told:
    pipeline.Pipeline.load(workdir, quantize=quantize)
  assert repr(quantize) in str(told.value)


def test_without_qwix_the_extra_is_named(
  workdir: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setitem(sys.modules, "qwix", None)
  with pytest.raises(
    ValueError, match=r"pip install 'unialign_jax\[quantize\]"
  ):
    pipeline.Pipeline.load(workdir, quantize="int8")
  assert pipeline.Pipeline.load(workdir).generate("a ring")


def test_qwix_is_not_imported_unasked():
  code = (
    "import sys; from unialign_jax import pipeline;"
    "from unialign_jax.use import quantise; assert 'qwix' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_the_setting_is_recorded(
  workdir: pathlib.Path, tmp_path: pathlib.Path, photo: Image.Image
):
  photo.save(tmp_path / "a.png")
  drawn, written = tmp_path / "drawn", tmp_path / "texts.jsonl"

  def run(name: str, *words: object, status: int = 0) -> str:
    words = (f"--model={workdir}", *words)
    done = subprocess.run(
      [sys.executable, "-m", f"unialign_jax.{name}", *map(str, words)],
      capture_output=True,
      text=True,
    )
    assert done.returncode == status, done.stderr
    return done.stderr

  run("generate", "a", "ring", f"--out={drawn}", "--quantize=int8")
  path = drawn / "00000-0.png"
  assert outputs.read_png(path)["quantize"] == "int8"
  said = run("generate", "a", "ring", f"--out={drawn}", status=1)
  assert "made with another quantize" in said
  words = (tmp_path / "a.png", f"--out={written}")
  run("understand", *words, "--quantize=int8")
  assert json.loads(written.read_text())["quantize"] == "int8"
  assert "another quantize" in run("understand", *words, status=1)


def test_older_results_go_on(tmp_path: pathlib.Path, photo: Image.Image):
  """What was made before there was the setting has none."""
  path = tmp_path / "a.png"
  outputs.save_png(path, photo, {"seed": 1})
  assert outputs.is_done(path, {"seed": 1, "quantize": None})
  with pytest.raises(ValueError, match="another quantize"):
    outputs.is_done(path, {"seed": 1, "quantize": "int8"})
