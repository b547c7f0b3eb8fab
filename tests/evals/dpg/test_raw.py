"""The official scorer's files."""

import pathlib

import pytest

from tests.evals.dpg import files
from unialign_jax.evals.dpg import questions
from unialign_jax.evals.dpg import raw

_YES = {"1": "yes", "2": "yes", "3": "yes", "4": "yes"}


def _write(tmp_path: pathlib.Path) -> pathlib.Path:
  answers = {
    "a1": [_YES, _YES | {"2": "no"}],
    "b": [_YES, _YES | {"1": "yes, two"}],
  }
  scores = {"a1": [1.0, 0.3333333333333333, 0.6666666666666666],
            "b": [1.0, 0.5, 0.75]}  # fmt: skip
  return files.write_raw(tmp_path, answers, scores)


def test_scores_are_the_last_number_of_each_line(tmp_path: pathlib.Path):
  read = raw.read_scores(_write(tmp_path))
  assert read.means == {"a1": 0.6666666666666666, "b": 0.75}
  assert list(read.printed.items()) == [
    ("entity", 50.0),
    ("global", 25.0),
    ("entity - whole", 50.0),
  ]


def test_answers_are_by_crop_in_the_order_of_asking(tmp_path: pathlib.Path):
  path = _write(tmp_path)
  found = questions.read(files.write_questions(tmp_path / "q.csv"))
  said = raw.read_detail(raw.detail_of(path))
  assert list(said) == ["a1", "b"]
  assert list(said["a1"]) == [0, 1]
  asked = found.released["a1"]
  assert raw.answers(said["a1"][0], asked) == {2: True, 3: True, 4: True}
  # The question has a comma of its own.
  assert raw.answers(said["a1"][1], asked) == {2: False, 3: True, 4: True}
  # Just that word is a yes.
  assert raw.answers(said["b"][1], found.released["b"]) == {1: False, 2: True}


def test_crops_are_told_by_their_boxes(tmp_path: pathlib.Path):
  files.write_raw(tmp_path, {"b": [_YES] * 4}, {})
  said = raw.read_detail(tmp_path / "res_detail.txt")
  assert list(said["b"]) == [0, 1, 2, 3]


def test_an_answer_may_have_several_lines_and_a_path_commas(
  tmp_path: pathlib.Path,
):
  path = tmp_path / "d.txt"
  path.write_text("/x, (y)/b.png, (0, 0, 8, 8), Is there a cat?, no\nidea\n")
  assert raw.read_detail(path) == {"b": {0: ["Is there a cat?, no\nidea"]}}


def test_what_broke_off_has_fewer_answers(tmp_path: pathlib.Path):
  found = questions.read(files.write_questions(tmp_path / "q.csv"))
  said = ["Is the dog red, or pink?, yes"]
  assert raw.answers(said, found.released["a1"]) == {2: True}


def test_other_questions_are_refused(tmp_path: pathlib.Path):
  found = questions.read(files.write_questions(tmp_path / "q.csv"))
  with pytest.raises(ValueError, match="expected 'Is there a cat"):
    raw.answers(["Is there a dog?, yes"], found.released["b"])
  with pytest.raises(ValueError, match="got 3 answers, expected 2"):
    raw.answers(["Is there a cat?, yes"] * 3, found.released["b"])


@pytest.mark.parametrize("read", [raw.read_scores, raw.read_detail])
def test_a_file_of_another_kind_is_named(tmp_path: pathlib.Path, read):
  path = tmp_path / "x.txt"
  path.write_text("something else\n")
  with pytest.raises(ValueError, match="compute_dpg_bench"):
    read(path)
  with pytest.raises(ValueError, match="cannot be read"):
    read(tmp_path / "none.txt")


def test_an_empty_file_has_nothing(tmp_path: pathlib.Path):
  path = tmp_path / "x.txt"
  path.write_text("")
  assert raw.read_scores(path) == raw.Scores({}, {})
  assert raw.read_detail(path) == {}


def test_items_are_what_stands_before_the_first_dot():
  assert raw.item_of("/a/b.c/whoops1.x.png") == "whoops1"
  assert raw.item_of("C:\\a\\whoops2.png") == "whoops2"
