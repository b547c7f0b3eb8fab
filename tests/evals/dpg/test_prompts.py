"""The census of DPG-Bench's prompts and questions."""

import json
import pathlib

import pytest

from tests.evals.dpg import files
from unialign_jax.evals.dpg import prompts
from unialign_jax.evals.dpg import questions


def test_all_ways_to_the_prompts_lead_to_the_same(tmp_path: pathlib.Path):
  data = files.write_data(tmp_path / "data")
  expected = {item: f"A long prompt of {item}." for item in files.ITEMS}
  assert prompts.read(data, True) == expected
  assert prompts.read(data / "prompts", True) == expected
  packed = tmp_path / "dpgbench_prompts.json"
  packed.write_text(
    json.dumps({f"{item}.txt": text for item, text in expected.items()})
  )
  assert prompts.read(packed, True) == expected
  assert prompts.read(tmp_path, True) == expected


def test_the_official_number_is_1065(tmp_path: pathlib.Path):
  path = tmp_path / "dpgbench_prompts.json"
  path.write_text(json.dumps({f"{n}.txt": "text" for n in range(1065)}))
  assert len(prompts.read(path, False)) == 1065
  path.write_text(json.dumps({f"{n}.txt": "text" for n in range(1064)}))
  with pytest.raises(ValueError, match=r"got 1064 prompts, expected 1065"):
    prompts.read(path, False)


@pytest.mark.parametrize(
  "packed, message",
  [
    ({"a.txt": ""}, "a.txt: got ''"),
    ({"a.txt": 7}, "a.txt: got 7"),
    ({"a.txt": "x", "a.b.txt": "y"}, "a second file of item 'a'"),
    (["a"], "got list, expected an object"),
  ],
)
def test_wrong_prompts_are_named(tmp_path: pathlib.Path, packed, message: str):
  path = tmp_path / "p.json"
  path.write_text(json.dumps(packed))
  with pytest.raises(ValueError, match=message):
    prompts.read(path, True)


def test_what_is_not_there_is_named(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="--data: got none"):
    prompts.read(None, True)
  with pytest.raises(ValueError, match="got no prompts"):
    prompts.read(tmp_path, True)


def test_questions_are_read_by_the_header(tmp_path: pathlib.Path):
  found = questions.read(files.write_questions(tmp_path / "q.csv"))
  assert list(found.items) == ["a1", "b", "c3"]
  assert found.oddities == []
  assert found.items["c3"][3] == questions.Question(
    number=3,
    text="Is it on the sea?",
    parents=(1, 2),
    detailed="relation - spatial",
  )
  assert found.items["c3"][1].broad == found.items["c3"][1].detailed == "global"
  assert found.items["a1"][2].broad == "attribute"


def test_as_released_the_first_row_is_lost(tmp_path: pathlib.Path):
  found = questions.read(files.write_questions(tmp_path / "q.csv"))
  assert list(found.items["a1"]) == [1, 2, 3, 4]
  assert list(found.released["a1"]) == [2, 3, 4]
  assert found.released["b"] == found.items["b"]


def test_as_released_only_the_last_rows_of_an_item_count(
  tmp_path: pathlib.Path,
):
  rows = [*files.ROWS, ("a1", "5", "0", "other - text (x)", "Is there a text?")]
  found = questions.read(files.write_questions(tmp_path / "q.csv", rows))
  assert list(found.items["a1"]) == [1, 2, 3, 4, 5]
  assert list(found.released["a1"]) == [5]


def test_contradictions_are_kept_and_said(tmp_path: pathlib.Path):
  rows = [
    *files.ROWS[:4],
    ("a1", "4", "9", "global (film)", "Is this a film still?"),
    *files.ROWS[4:],
  ]
  found = questions.read(files.write_questions(tmp_path / "q.csv", rows))
  assert found.items["a1"][4].text == "Is this a film still?"
  twice, unknown = found.oddities
  assert "a1 has question 4 twice" in twice
  assert "a1 4 depends on [9]" in unknown


@pytest.mark.parametrize(
  "row, message",
  [
    (("a1", "one", "0", "x (y)", "q?"), "line 3: invalid literal"),
    (("a1", "1", "", "x (y)", "q?"), "line 3: invalid literal"),
    (("a1", "1", "0", "x (y)", " "), "line 3: got no question"),
  ],
)
def test_a_row_that_is_no_question_is_named(
  tmp_path: pathlib.Path, row, message: str
):
  path = files.write_questions(tmp_path / "q.csv", [files.ROWS[0], row])
  with pytest.raises(ValueError, match=message):
    questions.read(path)


def test_a_file_without_the_columns_is_named(tmp_path: pathlib.Path):
  path = tmp_path / "q.csv"
  path.write_text("item_id,question\n1,2\n")
  with pytest.raises(ValueError, match=r"dependency.*too"):
    questions.read(path)
  with pytest.raises(ValueError, match="cannot be read"):
    questions.read(tmp_path / "none.csv")
