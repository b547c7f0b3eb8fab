"""ImgEdit: parquet index over tars, one or several turns, grades."""

import json
import pickle

import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import imgedit

_PATHS = hf.pa.list_(hf.STRING)
_COLUMNS = {
  "input_images": _PATHS,
  "output_images": _PATHS,
  "prompt": hf.STRING,
}
_TURN = hf.pa.struct(list(_COLUMNS.items()))


def _turn(inputs, outputs, prompt):
  return {"input_images": inputs, "output_images": outputs, "prompt": prompt}


PICTURES = {
  "add/0/original.png": written.picture(1, "PNG"),
  "add/0/result.png": written.picture(2, "JPEG"),
  "add/1/original.png": written.picture(3, "WEBP"),
  "add/1/result.png": written.picture(4, "PNG"),
  "memory/0/origin_0.png": written.picture(5, "PNG"),
  "memory/0/result_0.png": written.picture(6, "PNG"),
  "memory/0/origin_1.png": written.picture(7, "PNG"),
  "memory/0/result_1.png": written.picture(8, "PNG"),
}
ADD = ["add/0/original.png"], ["add/0/result.png"]


def _picture(name):
  return base.Picture(PICTURES[name])


@pytest.fixture(params=["tar", "unpacked"])
def root(tmp_path, request):
  """Two files of single turns in several row groups, one of several turns."""
  hf.write(
    tmp_path / "Parquet/add_part0.parquet",
    _COLUMNS,
    [
      _turn(*ADD, " Add a boat. "),
      _turn(["add/1/original.png"], ["add/1/result.png"], "Add a bird."),
      _turn(ADD[0] * 2, ADD[1], "Join them."),
    ],
  )
  hf.write(
    tmp_path / "Parquet/add_part1.parquet",
    _COLUMNS,
    [
      _turn(*ADD, ""),
      _turn(["add/9/original.png"], ADD[1], "Lost."),
      _turn(ADD[0], [], "No target."),
      _turn(ADD[0], ADD[1] * 2, "Two targets."),
      _turn([None], ADD[1], "Null."),
      _turn(None, ADD[1], "No input."),
      _turn(*ADD, None),
    ],
  )
  rule = _turn([], [], "Keep the style.")
  first, second = (
    _turn(
      [f"memory/0/origin_{k}.png"], [f"memory/0/result_{k}.png"], f"Do {k}."
    )
    for k in range(2)
  )
  hf.write(
    tmp_path / "Parquet/content_memory_part0.parquet",
    {"data": hf.pa.list_(_TURN)},
    [{"data": [first, second]}, {"data": [rule, second]}, {"data": None}],
  )
  if request.param == "tar":
    split = {"add": "Singleturn/add", "memory": "Multiturn/memory"}
    for folder, path in split.items():
      members = {n: d for n, d in PICTURES.items() if n.startswith(folder)}
      written.tar(tmp_path / f"{path}.tar", members)
  else:
    for name, data in PICTURES.items():
      written.file(tmp_path / "Singleturn" / name, data)
  return tmp_path


def _items(root, **options):
  source = imgedit.open_source(root, **options)
  return [source[i] for i in range(len(source))]


def test_single_turns(root):
  items = _items(root)
  assert items[0] == base.Raw(
    key="add_part0/0",
    task="edit",
    source="imgedit/add",
    license="not stated",
    caption_source="",
    target=_picture("add/0/result.png"),
    conditions=(_picture("add/0/original.png"),),
    instruction="Add a boat.",
  )
  assert items[1].target == _picture("add/1/result.png")
  assert [item.key for item in items] == [
    "add_part0/0",
    "add_part0/1",
    *(f"add_part1/{i}" for i in range(7)),
  ]


def test_rows_that_lack_something_are_rejected(root):
  assert [item.reason for item in _items(root)[2:]] == [
    "empty instruction",
    "missing file",
    "null image",
    "several targets",
    "null image",
    "null image",
    "empty instruction",
  ]


def test_rows_with_two_references_are_a_source_of_their_own(root):
  items = [i for i in _items(root, references=2) if isinstance(i, base.Raw)]
  assert [len(item.conditions) for item in items] == [2]
  assert items[0].instruction == "Join them."
  with pytest.raises(base.SourceError, match="references=5"):
    imgedit.open_source(root, references=5)


def test_turns_of_a_row_are_samples_and_a_rule_goes_before_the_others(root):
  items = _items(root, multi_turn=True)
  texts = [item.instruction for item in items if isinstance(item, base.Raw)]
  assert texts == ["Do 0.", "Do 1.", "Keep the style. Do 1."]
  assert items[1].conditions == (_picture("memory/0/origin_1.png"),)
  assert items[1].target == _picture("memory/0/result_1.png")
  assert items[0].source == "imgedit/content_memory"
  assert len({item.key for item in items}) == len(items) == 4
  assert items[3].reason == "null image"


def test_parts_are_picked_by_name(root):
  assert len(_items(root, parts="add")) == 9
  with pytest.raises(base.SourceError, match="add"):
    imgedit.open_source(root, parts="remove")


def test_low_and_missing_grades_are_filtered(root):
  grades = {"add/0": 4.5, "add/1": "score1: 3, score2: 5"}
  (root / "all_dataset_gpt_score.json").write_text(json.dumps(grades))
  first, second, *_ = _items(root, min_score=4)
  assert first.scores == {"gpt_score": 4.5}
  assert second.reason == "filtered: gpt_score"
  assert _items(root, min_score=3)[1].scores == {"gpt_score": 3.0}


def test_missing_grades_and_columns_are_named(root):
  with pytest.raises(base.SourceError, match="all_dataset_gpt_score"):
    imgedit.open_source(root, min_score=4)
  columns = {"input_images": _PATHS, "text": hf.STRING}
  hf.write(root / "Parquet/add_part2.parquet", columns, [{"text": "x"}])
  with pytest.raises(base.SourceError, match=r"output_images.*prompt"):
    imgedit.open_source(root)


def test_a_copy_in_another_process_gives_the_same(root):
  source = imgedit.open_source(root)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first and len(copy) == len(source)
