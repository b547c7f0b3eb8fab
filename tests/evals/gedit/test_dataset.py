"""The census of GEdit-Bench's data."""

import json
import pathlib

import pytest

from tests.evals.gedit import files
from unialign_jax.evals.gedit import dataset


def _read(data, language="en", column=dataset.INPUT, partial=True, images=None):
  return dataset.read(
    data, language, column=column, images=images, partial=partial
  )


@pytest.mark.parametrize("write", [files.write_parquet, files.write_arrow])
def test_a_downloaded_and_a_saved_data_set_are_read(
  tmp_path: pathlib.Path, write
):
  items = _read(write(tmp_path / "data"))
  assert [item.name for item in items] == [
    "color_alter/en/k1",
    "color_alter/en/k2",
    "ps_human/en/k3",
  ]
  assert items[1] == dataset.Item(
    task="color_alter",
    language="en",
    key="k2",
    instruction="color_alter k2 in en",
    picture=files.picture(20),
    intersection=False,
  )
  (chinese,) = _read(tmp_path / "data", "cn")
  assert chinese.name == "color_alter/cn/k1"


@pytest.mark.parametrize("write", [files.write_parquet, files.write_arrow])
def test_pictures_are_those_that_are_asked_for(tmp_path: pathlib.Path, write):
  data = write(tmp_path / "data")
  raw = _read(data, column=dataset.RAW)[0]
  assert raw.picture == files.picture(11, (24, 16), "JPEG")
  assert _read(data, column=None)[0].picture is None


def test_uniworlds_repack_is_read(tmp_path: pathlib.Path):
  path = files.write_packed(tmp_path / "data")
  items = _read(path)
  assert _read(tmp_path / "data") == items
  assert [item.name for item in items] == [
    "color_alter/en/k1",
    "color_alter/en/k2",
    "ps_human/en/k3",
  ]
  assert items[0].picture == tmp_path / "data/color_alter/k1.jpg"
  assert items[0].intersection is None
  assert _read(path, column=None)[0].picture is None
  assert _read(path, column=dataset.RAW)[0].picture == items[0].picture
  moved = tmp_path / "moved.json"
  moved.write_bytes(path.read_bytes())
  assert _read(moved, images=tmp_path / "data") == items
  with pytest.raises(ValueError, match="--set images"):
    _read(moved)


def test_the_whole_data_has_606_items_in_eleven_groups(
  tmp_path: pathlib.Path,
):
  rows = [*files.whole(), *files.whole("cn")]
  data = files.write_parquet(tmp_path / "a", rows)
  assert len(_read(data, partial=False)) == 606
  for number in (604, 605):
    data = files.write_parquet(tmp_path / str(number), files.whole()[:number])
    with pytest.raises(ValueError, match=rf"got {number} items.*expected 606"):
      _read(data, partial=False)
    assert len(_read(data, partial=True)) == number
  data = files.write_arrow(tmp_path / "c", files.whole()[:604])
  with pytest.raises(ValueError, match=r"got 604 items in en.*expected 606"):
    _read(data, partial=False)
  rows = [r | {"task_type": "ps_human"} for r in files.whole()]
  data = files.write_parquet(tmp_path / "d", rows)
  with pytest.raises(ValueError, match="in 11 groups"):
    _read(data, partial=False)


def test_uniworlds_repack_has_604_items(tmp_path: pathlib.Path):
  for number in (604, 603):
    path = files.write_packed(tmp_path / str(number), files.whole()[:number])
    for data in (path, path.parent):
      if number == 604:
        assert len(_read(data, partial=False)) == 604
      else:
        with pytest.raises(ValueError, match=r"got 603 items.*expected 604 in"):
          _read(data, partial=False)


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"task_type": "crop"}, "task_type: got 'crop'"),
    ({"instruction_language": "zh"}, "instruction_language: got 'zh'"),
    ({"key": "../k"}, "key: got"),
    ({"key": ""}, "key: got"),
    ({"instruction": "  "}, "instruction: got"),
    ({"input_image": None}, "input_image: got no picture"),
  ],
)
def test_a_wrong_row_is_named(tmp_path: pathlib.Path, wrong, message: str):
  data = files.write_arrow(tmp_path, [*files.ROWS, files.ROWS[0] | wrong])
  with pytest.raises(ValueError, match=message) as error:
    _read(data)
  assert "row 4" in str(error.value)


def test_two_items_of_one_name_are_refused(tmp_path: pathlib.Path):
  data = files.write_parquet(tmp_path, [*files.ROWS, files.ROWS[0]])
  with pytest.raises(ValueError, match="color_alter/en/k1: got it 2 times"):
    _read(data)
  # In two languages, or in two groups, one key is two items.
  rows = [*files.ROWS[:3], files.row("ps_human", "k1")]
  assert len(_read(files.write_parquet(tmp_path / "b", rows))) == 4


def test_a_column_that_is_missing_is_named(tmp_path: pathlib.Path):
  rows = [dict(row) for row in files.ROWS]
  for row in rows:
    del row["Intersection_exist"]
  with pytest.raises(ValueError, match="Intersection_exist"):
    _read(files.write_parquet(tmp_path / "a", rows))
  with pytest.raises(ValueError, match="Intersection_exist"):
    _read(files.write_arrow(tmp_path / "b", rows))


def test_what_is_not_there_is_named(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="--data: got none"):
    _read(None)
  with pytest.raises(ValueError, match="neither"):
    _read(tmp_path)
  with pytest.raises(ValueError, match="no such folder"):
    _read(tmp_path / "none")
  with pytest.raises(ValueError, match="language=zh"):
    _read(tmp_path, "zh")
  path = tmp_path / "gedit_edit.json"
  path.write_text(json.dumps({"k": {"prompt": "x"}}))
  with pytest.raises(ValueError, match="edit_type"):
    _read(path)
