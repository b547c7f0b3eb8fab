"""GEdit-Bench as a command uses it."""

import csv
import json
import math
import pathlib
import threading

import pytest
from PIL import Image

from tests.evals.gedit import files
from unialign_jax.evals import registry
from unialign_jax.evals.gedit import benchmark as gedit
from unialign_jax.evals.gedit import judging

_BENCHMARK = gedit.BENCHMARK
_PART = {"partial": "true"}


class FakeJudge:
  """Reads its scores in the pictures, after some nonsense.

  Consistency is the red of both pictures over 10, quality the green of the
  result and 9.
  """

  identity = "fake"
  libraries = "none"
  concurrency = 2

  def __init__(self, nonsense: int = 0):
    self.sizes = []
    self._nonsense = nonsense
    self._mutex = threading.Lock()

  def ask(self, prompt, images, *, attempt: int = 0) -> str:
    with self._mutex:
      self.sizes.append([image.size for image in images])
    if attempt < self._nonsense:
      return "I would say it is fine."
    shades = [image.getpixel((0, 0)) for image in images]
    if len(images) == 2:
      assert "color_alter k" in prompt or "ps_human k" in prompt
      scores = [shade[0] // 10 for shade in shades]
    else:
      scores = [shades[0][1], 9]
    return f'{{"score": {scores}, "reasoning": "as drawn"}}'


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
  return files.write_parquet(tmp_path / "data")


def _make(out: pathlib.Path, data: pathlib.Path, shades) -> None:
  """Results of English keys by (red, green), at a size of their own."""
  for one in _BENCHMARK.wanted(data, _PART):
    key = pathlib.PurePosixPath(one.path).stem
    if key in shades:
      path = out / one.path
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new("RGB", (5, 5), (*shades[key], 0)).save(path)
  _BENCHMARK.finish(out, data, _PART)


def _score(out, data, judge=None, **settings: str):
  return _BENCHMARK.score(out, data, _PART | settings, judge)


def _value(result, group: str, metric: str) -> float | None:
  (score,) = (
    s for s in result.scores if s.group == group and s.metric == metric
  )
  return score.value


def test_it_is_registered():
  assert registry.load("gedit") is _BENCHMARK


def test_the_finished_folder_is_the_official_one(tmp_path, data):
  out = tmp_path / "out"
  _make(out, data, {"k1": (90, 4), "k2": (90, 4), "k3": (90, 4)})
  assert sorted(
    p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()
  ) == [
    "fullset/color_alter/en/k1.png",
    "fullset/color_alter/en/k1_SRCIMG.png",
    "fullset/color_alter/en/k2.png",
    "fullset/color_alter/en/k2_SRCIMG.png",
    "fullset/ps_human/en/k3.png",
    "fullset/ps_human/en/k3_SRCIMG.png",
  ]


def test_the_source_is_always_the_smaller_picture(tmp_path, data):
  raw = _PART | {"input": "input_image_raw"}
  assert _BENCHMARK.wanted(data, raw)[0].images == (
    files.picture(11, (24, 16), "JPEG"),
  )
  _BENCHMARK.finish(tmp_path / "out", data, raw)
  path = tmp_path / "out/fullset/color_alter/en/k1_SRCIMG.png"
  assert path.read_bytes() == files.picture(10)


def test_a_judge_scores_with_both_rubrics(tmp_path, data):
  out = tmp_path / "out"
  # SC: the least of source and result over 10; PQ: the least of green and 9.
  _make(out, data, {"k1": (90, 4), "k2": (10, 9)})
  judge = FakeJudge()
  result = _score(out, data, judge)
  # k1: SC 1, PQ 4, O 2; k2: SC 1, PQ 9, O 3; k3 is missing.
  assert _value(result, "color_alter", "G_SC") == 1.0
  assert _value(result, "color_alter", "G_PQ") == 6.5
  assert _value(result, "color_alter", "G_O") == 2.5
  assert _value(result, "ps_human", "G_O") == 0.0
  assert _value(result, "Average", "G_O") == 1.25
  assert _value(result, "Average (intersection)", "G_O") == 1.0
  assert _value(result, "Samples", "G_O, as released") == 2.5
  assert _value(result, "Average", "G_O, as released") is None
  assert not result.official
  assert any("1 pictures are missing" in note for note in result.notes)
  # The judge sees results at the size of their source.
  assert sorted(map(len, judge.sizes)) == [1, 1, 2, 2]
  assert {size for sizes in judge.sizes for size in sizes} == {(12, 8)}
  again = FakeJudge()
  assert _score(out, data, again).scores == result.scores
  assert again.sizes == []
  assert (out / judging.FILE).exists()


def test_what_cannot_be_read_has_no_score(tmp_path, data):
  out = tmp_path / "out"
  _make(out, data, {"k1": (90, 4), "k3": (90, 4)})
  judge = FakeJudge(nonsense=2)
  scored = _score(out, data, judge)
  assert len(judge.sizes) == 3 * 4
  assert _value(scored, "ps_human", "G_SC") == 3.0
  out = tmp_path / "other"
  _make(out, data, {"k1": (90, 4), "k3": (90, 4)})
  lost = _score(out, data, FakeJudge(nonsense=9))
  assert _value(lost, "ps_human", "G_SC") is None
  assert any("2 pictures got no score" in note for note in lost.notes)


def test_scored_pictures_are_written_as_the_official_files(tmp_path, data):
  out = tmp_path / "model"
  _make(out, data, {"k1": (90, 4), "k2": (10, 9)})
  own = _score(out, data, FakeJudge(), backbone="gpt4o")
  folder = out / "gpt4o" / "eval_results_new"
  names = {path.name for path in folder.glob("*.csv")}
  assert len(names) == 11 and "model_color_alter_gpt_score.csv" in names
  with (folder / "model_color_alter_gpt_score.csv").open() as file:
    first, second = csv.DictReader(file)
  assert tuple(first) == files.COLUMNS
  assert (first["sementics_score"], first["quality_score"]) == ("1.0", "4.0")
  assert second["intersection_exist"] == "False"
  (other,) = {path.name for path in folder.iterdir()} - names
  assert json.loads((folder / other).read_text()) == {
    "judge": "fake",
    "libraries": "none",
  }
  # Without that they could not be told from the official scorer's.
  moved = folder.rename(tmp_path / "moved")
  for path in (moved, moved / "model_color_alter_gpt_score.csv"):
    with pytest.raises(ValueError, match=r"files of a judge here.*made_by\.js"):
      _score(out, data, results=str(path))
  (moved / other).unlink()
  read = _score(out, data, results=str(moved))
  assert read.official and read.scores == own.scores
  assert not any("Verdicts are the official" in note for note in own.notes)
  assert any("Verdicts are the official" in note for note in read.notes)
  _score(out, data, FakeJudge())
  with pytest.raises(ValueError, match="files of a judge here"):
    _score(out, data, results=str(out / "own_judge" / "eval_results_new"))


_RAW = (
  ("color_alter", "en", "k1", 4.0, 9.0, True),
  ("color_alter", "en", "k2", 8.0, 2.0, False),
  ("color_alter", "cn", "k1", 0.0, 0.0, True),
  ("ps_human", "en", "k3", 1.0, 4.0, True),
)


def test_official_files_have_the_official_numbers(tmp_path, data):
  folder = files.write_scores(tmp_path / "raw", _RAW)
  result = _score(tmp_path, data, results=str(folder))
  assert result.official and result.protocol == "repaired"
  for suffix in ("", ", as released"):
    assert _value(result, "color_alter", f"G_O{suffix}") == 5.0
    assert _value(result, "Average", f"G_O{suffix}") == 3.5
    assert _value(result, "Average (intersection)", f"G_O{suffix}") == 4.0
  chinese = _score(tmp_path, data, results=str(folder), language="cn")
  assert _value(chinese, "Average", "G_O") == 0.0


def test_rows_that_are_missing_or_twice_differ_as_released(tmp_path, data):
  rows = [*_RAW[:3], ("color_alter", "en", "k1", 1.0, 1.0, True)]
  folder = files.write_scores(tmp_path / "raw", rows)
  result = _score(tmp_path, data, results=str(folder))
  # The last k1 counts: O 1 and 4; ps_human has no picture.
  assert _value(result, "color_alter", "G_O") == 2.5
  assert _value(result, "Average", "G_O") == 1.25
  released = "G_O, as released"
  assert _value(result, "color_alter", released) == pytest.approx(11 / 3)
  assert _value(result, "Average", released) is None
  assert any(note.startswith("1 rows are of pictures") for note in result.notes)
  compat = _score(tmp_path, data, results=str(folder), compat="true")
  assert _value(compat, "color_alter", "G_O") == pytest.approx(11 / 3)
  assert {s.metric for s in compat.scores} == {"G_SC", "G_PQ", "G_O"}
  # A picture that is there, but has no row, is no fault of the model's.
  _make(tmp_path, data, {"k3": (90, 4)})
  result = _score(tmp_path, data, results=str(folder))
  assert _value(result, "ps_human", "G_O") is None
  assert any("1 by no row" in note for note in result.notes)


def test_zeros_that_may_be_refusals_are_said(tmp_path, data):
  rows = [*_RAW[:2], ("ps_human", "en", "k3", 0.0, 8.0, True)]
  folder = files.write_scores(tmp_path / "raw", rows)
  result = _score(tmp_path, data, results=str(folder))
  (note,) = (note for note in result.notes if "refusal" in note)
  assert note.startswith("1 pictures of motion_change and ps_human")


@pytest.mark.parametrize(
  "wrong, message",
  [
    (("color_alter", "en", "k1", "", 9.0, True), "sementics_score: got ''"),
    (("color_alter", "en", "k1", 4.0, "nan", True), "quality_score: got"),
    (("color_alter", "en", "k1", 11, 9.0, True), "from 0 to 10"),
    (("color_alter", "en", "k1", 4.0, 9.0, "1"), "intersection_exist: got"),
    (("color_alter", "en", "z9", 4.0, 9.0, True), r"rows of \['color_alter"),
  ],
)
def test_rows_that_are_no_results_are_named(tmp_path, data, wrong, message):
  folder = files.write_scores(tmp_path / "raw", [wrong])
  with pytest.raises(ValueError, match=message):
    _score(tmp_path, data, results=str(folder))


def test_files_that_are_not_there_are_named(tmp_path, data):
  with pytest.raises(ValueError, match="_gpt_score"):
    _score(tmp_path, data, results=str(tmp_path))
  with pytest.raises(ValueError, match="cannot be read"):
    _score(tmp_path, data, results=str(tmp_path / "none.csv"))
  path = tmp_path / "x.csv"
  path.write_text("a,b\n1,2\n")
  with pytest.raises(ValueError, match="expected"):
    _score(tmp_path, data, results=str(path))


@pytest.mark.parametrize(
  "settings, message",
  [
    ({}, "neither"),
    ({"input": "image"}, "--set input=image"),
    ({"lang": "en"}, "did you mean language"),
    ({"protocol": "release"}, "--protocol"),
  ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, data, settings, message):
  with pytest.raises(ValueError, match=message):
    _score(tmp_path, data, **settings)
  folder = files.write_scores(tmp_path / "raw", _RAW)
  with pytest.raises(ValueError, match="both a judge"):
    _score(tmp_path, data, FakeJudge(), results=str(folder))


def test_o_is_a_geometric_mean(tmp_path, data):
  folder = files.write_scores(
    tmp_path / "raw", [("ps_human", "en", "k3", 3.0, 7.0, True)]
  )
  result = _score(tmp_path, data, results=str(folder), compat="true")
  assert _value(result, "ps_human", "G_O") == pytest.approx(math.sqrt(21))
