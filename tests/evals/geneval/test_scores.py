"""GenEval's numbers, computed by hand."""

import pathlib

import pytest

from tests.evals.geneval import files
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import results
from unialign_jax.evals.geneval import scores

# Correct pictures of four, of the one prompt of each task.
_RIGHT = {0: 4, 1: 3, 2: 2, 3: 1, 4: 0, 5: 2}


def _expected(partial: bool = False, per_tag: int = 1) -> scores.Expected:
  return scores.Expected(
    per_tag=dict.fromkeys(prompts.COUNTS, per_tag), samples=4, partial=partial
  )


def _rows(right=_RIGHT, samples: int = 4) -> list[results.Row]:
  return [
    results.row(files.row(index, number, number < count))
    for index, count in right.items()
    for number in range(samples)
  ]


def _values(table) -> dict[str, float | None]:
  return {score.group: score.value for score in table}


def test_overall_is_the_unweighted_mean_of_the_tasks():
  expected = {
    "single_object": 1.0,
    "two_object": 0.75,
    "counting": 0.5,
    "colors": 0.25,
    "position": 0.0,
    "color_attr": 0.5,
    "Overall": 0.5,
    "Images": 0.5,
    "Prompts, any": 5 / 6,
  }
  for table in (
    scores.repaired(_rows(), _expected(), "m"),
    scores.as_released(_rows(), _expected(), "m"),
  ):
    assert _values(table) == pytest.approx(expected)
    assert list(_values(table)) == list(expected)
    assert {score.metric for score in table} == {"m"}
    assert all(score.scored == score.expected for score in table)


def test_overall_is_not_the_mean_of_pictures():
  # A second prompt of the first task, all wrong: 4 of 8 there, 12 of 28.
  line = files.LINES[0] | {"prompt": "a photo of one bench"}
  more = [results.row(files.row(6, number, False, line)) for number in range(4)]
  per_tag = dict.fromkeys(prompts.COUNTS, 1) | {"single_object": 2}
  expected = scores.Expected(per_tag=per_tag, samples=4, partial=False)
  for table in (
    scores.repaired([*_rows(), *more], expected, "m"),
    scores.as_released([*_rows(), *more], expected, "m"),
  ):
    values = _values(table)
    assert values["single_object"] == 0.5
    assert values["Overall"] == pytest.approx(2.5 / 6)
    assert values["Images"] == pytest.approx(12 / 28)
    assert values["Prompts, any"] == pytest.approx(5 / 7)


def test_missing_samples_count_against_the_model_and_as_released_for_it():
  rows = [row for row in _rows() if row.picture not in ((3, 1), (3, 2), (3, 3))]
  repaired = _values(scores.repaired(rows, _expected(True), "m"))
  released = _values(scores.as_released(rows, _expected(True), "m"))
  assert repaired["colors"] == 0.25
  assert released["colors"] == 1.0
  assert repaired["Overall"] == pytest.approx(3 / 6)
  assert released["Overall"] == pytest.approx(3.75 / 6)
  assert released["Images"] == pytest.approx(12 / 21)


@pytest.mark.parametrize("make", [scores.repaired, scores.as_released])
def test_there_is_no_overall_while_a_task_is_short(make):
  rows = _rows()[:-1]
  table = make(rows, _expected(), "m")
  assert _values(table)["Overall"] is None
  assert scores.short(table) == ["color_attr 3 of 4"]
  assert _values(make(rows, _expected(True), "m"))["Overall"] is not None
  (overall,) = (score for score in table if score.group == "Overall")
  assert (overall.scored, overall.expected) == (23, 24)


def test_prompts_of_which_nothing_is_there_count_too():
  table = scores.repaired(_rows(), _expected(True, per_tag=2), "m")
  values = _values(table)
  assert values["single_object"] == 0.5
  assert values["Overall"] == pytest.approx(0.25)
  assert values["Prompts, any"] == pytest.approx(5 / 12)


def test_intervals_are_over_prompts():
  expected = scores.Expected(
    per_tag={"single_object": 2}, samples=4, partial=True
  )
  rows = [
    results.row(files.row(index, number, index == 0, files.LINES[0]))
    for index in (0, 6)
    for number in range(4)
  ]
  score = scores.repaired(rows, expected, "m")[0]
  # Two prompts, 1 and 0: all resamples of two have 0, 0.5 or 1.
  assert (score.value, score.low, score.high) == (0.5, 0.0, 1.0)


def test_a_picture_counts_once():
  rows = [*_rows(), results.row(files.row(4, 0, True))]
  once = scores.once(rows)
  assert len(once) == 24
  assert _values(scores.repaired(once, _expected(), "m"))["position"] == 0.25
  assert _values(scores.as_released(rows, _expected(), "m"))["position"] == 0.2


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"filename": "00000/00000.png"}, "filename: got"),
    ({"filename": "x/00000/samples/a.png"}, "filename: got"),
    ({"correct": 1}, "correct: got 1"),
    ({"tag": "shapes"}, "tag: got 'shapes'"),
    ({"metadata": "[]"}, r"metadata: got \[\]"),
    ({"metadata": "{"}, "line 2"),
  ],
)
def test_a_row_that_is_no_result_is_named(
  tmp_path: pathlib.Path, wrong: dict, message: str
):
  rows = [files.row(0, 0, True), files.row(0, 1, True) | wrong]
  path = files.write_results(tmp_path / "results.jsonl", rows)
  with pytest.raises(ValueError, match=message) as error:
    results.read(path)
  assert "line 2" in str(error.value)


def test_a_row_without_a_field_is_named():
  fields = files.row(0, 0, True)
  del fields["reason"]
  with pytest.raises(ValueError, match="reason"):
    results.row(fields)


def test_rows_are_read_as_pandas_writes_them(tmp_path: pathlib.Path):
  path = files.write_results(
    tmp_path / "results.jsonl", [files.row(17, 3, True, files.LINES[5])]
  )
  (row,) = results.read(path)
  assert row.picture == (17, 3)
  assert row.tag == "color_attr"
  assert row.correct is True
  assert row.metadata == files.LINES[5]
