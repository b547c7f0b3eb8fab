"""Rows of JSON files: found once, read one at a time, damage told apart."""

import json
import pickle

import pytest

from unialign_jax.data.sources import base
from unialign_jax.data.sources import jsonl


def test_lines_are_read_in_any_order(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes('\ufeff{"a": "é"}\r\n\n  \n{"a": 2}\n{"a": 3}'.encode())
  rows = jsonl.Lines(path)
  assert len(rows) == 3
  assert [rows[i]["a"] for i in (2, 0, 1)] == [3, "é", 2]
  assert [rows.number(i) for i in range(3)] == [1, 4, 5]


def test_a_damaged_line_is_named_and_the_next_one_read(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'{"a": 1}\n{"a": \n{"a": "\xff"}\n[1]\n{"a": 5}\n')
  rows = jsonl.Lines(path)
  for index, what in ((1, "line 2"), (2, "line 3"), (3, "line 4: got list")):
    with pytest.raises(ValueError, match=what):
      rows[index]
  assert rows[4] == {"a": 5}
  with pytest.raises(IndexError, match="got row 5 of 5"):
    rows[5]


@pytest.mark.parametrize("ascii", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_is_read_object_by_object(tmp_path, ascii, indent):
  expected = [{"a": "ü]},{"}, {"b": [1, {"c": "日本"}]}, {}]
  path = tmp_path / "a.json"
  text = json.dumps(expected, ensure_ascii=ascii, indent=indent)
  path.write_text(text, encoding="utf-8-sig")
  rows = jsonl.List(path)
  assert [rows[i] for i in (2, 0, 1)] == [expected[i] for i in (2, 0, 1)]
  assert [rows.number(i) for i in range(len(rows))] == [0, 1, 2]


def test_a_list_holds_objects(tmp_path):
  path = tmp_path / "a.json"
  path.write_text('[{"a": 1}, 7]')
  with pytest.raises(ValueError, match="row 1: got int, expected an object"):
    jsonl.List(path)[1]
  path.write_text(" [ ] ")
  assert len(jsonl.List(path)) == 0


@pytest.mark.parametrize(
  "text",
  ["", '[{"a": 1};{"a": 2}]', '[{"a": 1}, {"a"', '[{"a": 1} ', '{"a":1}'],
)
def test_a_list_that_is_cut_off_is_refused(tmp_path, text):
  path = tmp_path / "a.json"
  path.write_text(text)
  with pytest.raises(base.SourceError, match="expected one JSON list"):
    jsonl.List(path)


@pytest.mark.parametrize("kind", [jsonl.Lines, jsonl.List])
def test_a_missing_file_is_refused(tmp_path, kind):
  with pytest.raises(base.SourceError, match="got no such file"):
    kind(tmp_path / "a.json")


def test_a_copy_opens_the_file_for_itself(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"a": 1}\n{"a": 2}\n')
  rows = jsonl.Lines(path)
  assert rows[1] == {"a": 2}
  copy = pickle.loads(pickle.dumps(rows))
  assert (copy[0], copy.number(1)) == ({"a": 1}, 2)


def test_find_gives_sorted_files_or_refuses(tmp_path):
  for name in ("b/2.jsonl", "a.jsonl", "c.json"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  found = jsonl.find(tmp_path)
  assert [path.name for path in found] == ["a.jsonl", "2.jsonl"]
  with pytest.raises(base.SourceError, match=r"got no files \*\.txt"):
    jsonl.find(tmp_path, "*.txt")
