"""SEED-Data-Edit: pairs, and sessions with pictures left out."""

import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import seed_data_edit

_SIZE = (500, 400)


def _picture(shade, size=_SIZE):
  return written.picture(shade, size=size)


def _pair(target="t/0.jpg", source="s/0.jpg", instruction="add a hat"):
  return {
    "source_image": source,
    "target_image": target,
    "instruction": instruction,
  }


@pytest.fixture
def part1(tmp_path):
  home = tmp_path / "auto_editing/openimages"
  written.json_lines(home / "annotations/split_0001.jsonl", [_pair()])
  written.json_lines(
    home / "annotations/split_0000.jsonl",
    [
      _pair(),
      _pair(target="t/9.jpg"),
      _pair(source=None),
      _pair(instruction=" "),
      {"source_image": "s/0.jpg", "target_image": "t/0.jpg"},
      _pair(target="t/small.jpg"),
      _pair(source="s/wide.jpg"),
    ],
  )
  with (home / "annotations/split_0000.jsonl").open("a") as file:
    file.write('{"source_image": "s/0\n')
  written.json_lines(
    home / "annotations_GPT4V/split_0000.jsonl",
    [_pair(instruction="put a straw hat on her")],
  )
  written.file(home / "s/0.jpg", _picture(0))
  written.file(home / "s/wide.jpg", _picture(1, (800, 500)))
  written.tar(
    home / "target_images.tar",
    {"t/0.jpg": _picture(2), "t/small.jpg": _picture(3, (450, 399))},
  )
  return tmp_path


def test_pairs(part1):
  items = list(seed_data_edit.open_source(part1))
  assert items[0] == base.Raw(
    key="annotations/split_0000/1",
    task="edit",
    source="seed_data_edit/part1",
    license="cc-by-nc-4.0",
    caption_source="",
    target=base.Picture(_picture(2)),
    conditions=(base.Picture(_picture(0)),),
    instruction="add a hat",
  )
  assert [item.reason for item in items[1:8]] == [
    "missing file",
    "null image",
    "empty instruction",
    "missing key",
    "filtered: min_side",
    "filtered: max_aspect",
    "damaged row",
  ]
  assert "line 8" in items[7].detail
  assert [item.key for item in items[8:]] == ["annotations/split_0001/1"]


def test_filters_can_be_turned_off(part1):
  source = seed_data_edit.open_source(part1, min_side=0, max_aspect=0)
  assert source[5].target.data == _picture(3, (450, 399))
  assert source[6].conditions[0].data == _picture(1, (800, 500))


def test_rewritten_instructions(part1):
  (item,) = seed_data_edit.open_source(part1, annotations="annotations_GPT4V")
  assert item.instruction == "put a straw hat on her"
  assert item.key == "annotations_GPT4V/split_0000/1"


def test_part_2_has_its_pictures_in_a_folder(tmp_path):
  home = tmp_path / "real_editing"
  written.json_lines(home / "annotations/split_0001.jsonl", [_pair()])
  written.tar(
    home / "images/images.tar", {"s/0.jpg": _picture(0), "t/0.jpg": _picture(1)}
  )
  (item,) = seed_data_edit.open_source(tmp_path, part=2)
  assert item.source == "seed_data_edit/part2"
  assert item.target.data == _picture(1)


@pytest.fixture
def part3(tmp_path):
  home = tmp_path / "multi_turn_editing"
  written.json_lines(
    home / "annotations/split_0001.jsonl",
    [
      {
        "source_image": "176/a.jpg",
        "instruction_1": "first",
        "edit_image_1": "176/a_edit1.jpg",
        "instruction_2": "second",
        "edit_image_2": None,
        "instruction_3": "third",
        "edit_image_3": "176/a_edit3.jpg",
        "instruction_4": "",
        "edit_image_4": "176/a_edit1.jpg",
      },
      {"source_image": "176/a.jpg"},
      {
        "source_image": "176/a.jpg",
        "instruction_1": "of another row",
        "edit_image_1": "176/a_edit1.jpg",
        "instruction_2": "and its second turn",
        "edit_image_2": "176/a_edit3.jpg",
      },
    ],
  )
  for shade, name in enumerate(("a", "a_edit1", "a_edit3")):
    written.file(home / f"images/data/176/{name}.jpg", _picture(shade))
  return tmp_path


def test_turns_go_on_from_the_last_picture_there_is(part3):
  source = seed_data_edit.open_source(part3, part=3)
  items = list(source)
  stem = "annotations/split_0001"
  assert [item.key for item in items] == [
    f"{stem}/1/1",
    f"{stem}/1/2",
    f"{stem}/1/3",
    f"{stem}/1/4",
    f"{stem}/2",
    f"{stem}/3/1",
    f"{stem}/3/2",
  ]
  pictures = {
    item.instruction: (item.conditions[0].data, item.target.data)
    for item in items
    if isinstance(item, base.Raw)
  }
  assert pictures == {
    "first": (_picture(0), _picture(1)),
    "third": (_picture(1), _picture(2)),
    "of another row": (_picture(0), _picture(1)),
    "and its second turn": (_picture(1), _picture(2)),
  }
  assert [items[i].reason for i in (1, 3, 4)] == [
    "null image",
    "empty instruction",
    "missing key",
  ]


def test_a_copy_gives_the_same(part1, part3):
  for part in (1, 3):
    source = seed_data_edit.open_source(part1, part=part)
    items = list(source)
    assert list(pickle.loads(pickle.dumps(source))) == items


def test_another_folder_and_prefix(part3):
  home = part3 / "multi_turn_editing"
  (home / "images").rename(home / "pictures")
  home.rename(part3 / "turns")
  source = seed_data_edit.open_source(
    part3, part=3, folder="turns", images="pictures/data", prefix=""
  )
  assert source[0].target.data == _picture(1)


@pytest.mark.parametrize(
  ("part", "name"),
  [
    (1, "auto_editing/openimages/source_images.tar.gz.part-aa"),
    (2, "real_editing/images/images.tar.gz"),
    (3, "multi_turn_editing/images/multi_turn.tar.gz.part-aa"),
  ],
)
def test_packed_pictures_are_refused_with_the_command(tmp_path, part, name):
  annotations = {1: "auto_editing/openimages"}.get(part, name.split("/")[0])
  written.json_lines(
    tmp_path / annotations / "annotations/split_0001.jsonl", [_pair()]
  )
  written.file(tmp_path / name, b"")
  with pytest.raises(base.SourceError, match=r"gzip -dc"):
    seed_data_edit.open_source(tmp_path, part=part)


def test_an_unknown_part(tmp_path):
  with pytest.raises(base.SourceError, match="got part='3'"):
    seed_data_edit.open_source(tmp_path, part="3")
