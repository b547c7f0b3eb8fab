"""The census of ImgEdit-Bench's data."""

import json
import pathlib

import pytest

from tests.evals.imgedit import files
from unialign_jax.evals.imgedit import dataset


def _read(data, partial=True, images=None, has_pictures=True):
  return dataset.read(
    data, images=images, has_pictures=has_pictures, partial=partial
  )


def _encoded(item: dataset.Item) -> bytes:
  got = item.picture
  return got.read_bytes() if isinstance(got, pathlib.Path) else got


@pytest.mark.parametrize("inside", ["", "singleturn", "Benchmark/singleturn"])
def test_pictures_are_found_beside_the_file(
  tmp_path: pathlib.Path, inside: str
):
  data = files.write_official(tmp_path / "data", inside)
  items = _read(data)
  assert _read(data / "basic_edit.json") == items
  assert [(item.key, item.kind) for item in items] == [
    (key, kind) for key, kind, _ in files.ITEMS
  ]
  assert items[0].prompt == "change 1082"
  for item, (*_, name) in zip(items, files.ITEMS):
    assert _encoded(item) == files.pictures()[name]


@pytest.mark.parametrize("write", [files.write_tar, files.write_mirror])
def test_pictures_are_read_in_a_tar_and_in_the_mirror(
  tmp_path: pathlib.Path, write
):
  data = write(tmp_path / "data")
  items = _read(data)
  expected = _read(files.write_official(tmp_path / "official"))
  assert [_encoded(item) for item in items] == [
    _encoded(item) for item in expected
  ]
  assert [(i.key, i.kind, i.prompt) for i in items] == [
    (i.key, i.kind, i.prompt) for i in expected
  ]
  assert all(i.picture is None for i in _read(data, has_pictures=False))


def test_pictures_may_lie_elsewhere(tmp_path: pathlib.Path):
  data = files.write_official(tmp_path / "data")
  (tmp_path / "here").mkdir()
  path = tmp_path / "here" / "basic_edit.json"
  path.write_bytes((data / "basic_edit.json").read_bytes())
  assert _read(path, images=data) == _read(data)
  with pytest.raises(ValueError, match="--set images"):
    _read(path)
  assert len(_read(path, has_pictures=False)) == 4


def test_the_whole_file_has_737_items_of_nine_types(tmp_path: pathlib.Path):
  assert sum(dataset.COUNTS.values()) == 737 and len(dataset.COUNTS) == 9
  data = files.write_official(tmp_path)
  entries = files.whole()
  (data / "basic_edit.json").write_text(json.dumps(entries))
  assert len(_read(data, partial=False)) == 737
  entries["0"]["edit_type"] = "action"
  (data / "basic_edit.json").write_text(json.dumps(entries))
  with pytest.raises(ValueError, match=r"got 737 items.*'action': 37"):
    _read(data, partial=False)


@pytest.mark.parametrize(
  "key, wrong, message",
  [
    ("5", {"edit_type": "hybrid"}, "5: edit_type: got 'hybrid'"),
    ("5", {"prompt": ""}, "5: prompt: got ''"),
    ("5", {"id": "animal/none.jpg"}, "5: got no picture"),
    ("5", {"id": "../data/animal/none.jpg"}, "5: got no picture"),
    ("../5", {}, "key: got '../5'"),
  ],
)
def test_a_wrong_entry_is_named(
  tmp_path: pathlib.Path, key: str, wrong, message: str
):
  data = files.write_official(tmp_path / "data")
  entries = files.entries()
  entries[key] = entries["7"] | wrong
  (data / "basic_edit.json").write_text(json.dumps(entries))
  with pytest.raises(ValueError, match=message):
    _read(data)


def test_what_is_not_there_is_named(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="--data: got none"):
    _read(None)
  with pytest.raises(ValueError, match="neither"):
    _read(tmp_path)
  path = tmp_path / "basic_edit.json"
  path.write_text('{"1": {"id": "x"}}')
  with pytest.raises(ValueError, match="edit_type"):
    _read(path)
