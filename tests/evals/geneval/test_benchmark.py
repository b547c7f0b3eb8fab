"""GenEval as a command uses it."""

import json
import pathlib

import pytest
from PIL import Image

from tests.evals import tiny_models
from tests.evals.geneval import files
from unialign_jax.evals import registry
from unialign_jax.evals.geneval import benchmark as geneval
from unialign_jax.evals.geneval import scoring

_BENCHMARK = geneval.BENCHMARK
_PART = {"partial": "true"}


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
  return files.write_prompts(tmp_path / "prompts.jsonl")


@pytest.fixture
def raw(tmp_path: pathlib.Path) -> pathlib.Path:
  """The official results: sample k of prompt n is right where k < n."""
  rows = [
    files.row(index, number, number < index)
    for index in range(6)
    for number in range(4)
  ]
  return files.write_results(tmp_path / "results.jsonl", rows)


def _value(result, group: str, metric: str) -> float | None:
  (score,) = (
    s for s in result.scores if s.group == group and s.metric == metric
  )
  return score.value


def test_it_is_registered():
  assert registry.load("geneval") is _BENCHMARK


def test_the_whole_benchmark_is_2212_pictures(tmp_path: pathlib.Path):
  path = files.write_prompts(tmp_path / "a.jsonl", files.whole())
  wanted = _BENCHMARK.wanted(path, {})
  assert len(wanted) == len({one.path for one in wanted}) == 2212
  assert wanted[-1].path == "00552/samples/00003.png"
  assert {one.seed for one in wanted} == {42, 43, 44, 45}


def test_official_results_have_the_official_numbers(tmp_path, data, raw):
  result = _BENCHMARK.score(tmp_path, data, _PART | {"results": str(raw)}, None)
  assert result.official and result.protocol == "repaired"
  assert result.scorer == str(raw)
  for metric in ("accuracy", "accuracy, as released"):
    values = [0, 0.25, 0.5, 0.75, 1, 1]
    for line, value in zip(files.LINES, values):
      assert _value(result, line["tag"], metric) == value
    assert _value(result, "Overall", metric) == pytest.approx(3.5 / 6)


def test_compat_has_one_column_and_that_of_the_script(tmp_path, data, raw):
  lines = raw.read_text().splitlines()
  raw.write_text("\n".join(lines[1:]) + "\n")  # a wrong picture is not there
  given = _PART | {"results": str(raw)}
  for chosen in ({"compat": "true"}, {"protocol": "compat"}):
    compat = _BENCHMARK.score(tmp_path, data, given | chosen, None)
    assert compat.protocol == "compat"
    assert {score.metric for score in compat.scores} == {"accuracy"}
    assert _value(compat, "Images", "accuracy") == pytest.approx(14 / 23)
  repaired = _BENCHMARK.score(tmp_path, data, given, None)
  assert _value(repaired, "Images", "accuracy") == pytest.approx(14 / 24)
  released = _value(repaired, "Images", "accuracy, as released")
  assert released == pytest.approx(14 / 23)


def test_official_results_stand_alone_but_not_for_the_whole(tmp_path, raw):
  assert _BENCHMARK.wanted(None, {"results": str(raw)}) == []
  _BENCHMARK.finish(tmp_path, None, {"results": str(raw)})
  result = _BENCHMARK.score(tmp_path, None, {"results": str(raw)}, None)
  assert _value(result, "Overall", "accuracy") is None
  (overall, *_) = (s for s in result.scores if s.group == "Overall")
  assert (overall.scored, overall.expected) == (24, 2212)
  (note,) = (note for note in result.notes if "missing" in note)
  assert "single_object 4 of 320" in note and "partial=true" in note


def test_rows_of_other_prompts_are_refused(tmp_path, data, raw):
  other = [files.LINES[0] | {"prompt": "a photo of an empty bench"}]
  path = files.write_prompts(tmp_path / "b.jsonl", [*other, *files.LINES[1:]])
  with pytest.raises(ValueError, match="another line"):
    _BENCHMARK.score(tmp_path, path, _PART | {"results": str(raw)}, None)
  path = files.write_prompts(tmp_path / "c.jsonl", files.LINES[:5])
  with pytest.raises(ValueError, match="no such line"):
    _BENCHMARK.score(tmp_path, path, _PART | {"results": str(raw)}, None)
  with pytest.raises(ValueError, match="--set samples is 2"):
    _BENCHMARK.score(
      tmp_path, data, _PART | {"results": str(raw), "samples": "2"}, None
    )


def test_rows_of_one_picture_are_counted(tmp_path, data, raw):
  with raw.open("a") as file:
    file.write(json.dumps(files.row(0, 0, True)) + "\n")
  result = _BENCHMARK.score(tmp_path, data, _PART | {"results": str(raw)}, None)
  assert any(note.startswith("1 rows are of pictures") for note in result.notes)
  assert _value(result, "single_object", "accuracy") == 0.25
  assert _value(result, "single_object", "accuracy, as released") == 0.2


def test_models_of_transformers_score_a_folder_and_agree_or_not(
  tmp_path: pathlib.Path,
):
  tiny_models.mask2former(tmp_path / "detector")
  tiny_models.clip(tmp_path / "clip")
  lines = files.LINES[:4]
  data = files.write_prompts(tmp_path / "four.jsonl", lines)
  given = _PART | {"samples": "1"}
  models = {
    "detector": str(tmp_path / "detector"),
    "clip": str(tmp_path / "clip"),
  }
  out = tmp_path / "out"
  for one in _BENCHMARK.wanted(data, given):
    path = out / one.path
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((32, 32), 90).convert("RGB").save(path)
  own = _BENCHMARK.score(out, data, given | models, None)
  assert not own.official
  assert any("not GenEval's detector" in note for note in own.notes)
  assert len((out / scoring.FILE).read_text().splitlines()) == 4
  with pytest.raises(ValueError, match="rows of the scorer here"):
    _BENCHMARK.score(
      out, data, given | {"results": str(out / scoring.FILE)}, None
    )
  # The same rows as official ones agree with themselves.
  rows = [json.loads(x) for x in (out / scoring.FILE).read_text().splitlines()]
  for row in rows:
    del row["scorer"]
  raw = files.write_results(tmp_path / "same.jsonl", rows)
  both = _BENCHMARK.score(
    out, data, given | models | {"results": str(raw)}, None
  )
  assert both.official
  assert _value(both, "Agreement", "equal verdicts") == 1.0
  for group in ("Overall", "counting"):
    own_value = _value(both, group, "accuracy, other detector")
    assert own_value == _value(own, group, "accuracy")
  # One verdict turned round is one of four.
  rows[0]["correct"] = not rows[0]["correct"]
  other = files.write_results(tmp_path / "other.jsonl", rows)
  both = _BENCHMARK.score(
    out, data, given | models | {"results": str(other)}, None
  )
  assert _value(both, "Agreement", "equal verdicts") == 3 / 4


@pytest.mark.parametrize(
  "settings, message",
  [
    ({}, "nothing to score with"),
    ({"detector": "x"}, "expected both"),
    ({"sample": "2"}, "did you mean samples"),
    ({"samples": "two"}, "expected int"),
    ({"samples": "0"}, "at least 1"),
    ({"partial": "perhaps"}, "expected bool"),
    ({"protocol": "best"}, "--protocol"),
    ({"protocol": "repaired", "compat": "1"}, "one of them"),
  ],
)
def test_settings_that_do_not_fit_are_named(
  tmp_path, data, settings: dict[str, str], message: str
):
  with pytest.raises(ValueError, match=message):
    _BENCHMARK.score(tmp_path, data, _PART | settings, None)
