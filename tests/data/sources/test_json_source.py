"""Rows to samples: keys, groups, and why a row gives none."""

import dataclasses

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import json_source
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars


@dataclasses.dataclass(frozen=True)
class _Format:
  """A row gives the parts that it lists."""

  def parts(self, fields):
    return json_source.value(fields, "parts")

  def build(self, row):
    (target,) = row.pictures(row.fields["paths"])
    return base.Raw(
      key=row.key,
      task="text_to_image",
      source=row.source,
      license=row.license,
      caption_source="",
      target=target,
      instruction=str(row.part),
    )


def _source(root, **files):
  written.file(root / "0.jpg", written.picture(0))
  written.file(root / "empty.jpg", b"")
  tables = []
  for name, rows in files.items():
    written.json_lines(root / f"{name}.jsonl", rows)
    tables.append(
      json_source.Table(
        rows=jsonl.Lines(root / f"{name}.jsonl"),
        tree=tars.Tree(root),
        format=_Format(),
        name=f"folder/{name}",
        source=f"set/{name}",
        license="mit",
      )
    )
  return json_source.JsonSource(tables)


def test_samples_keep_the_order_of_files_rows_and_parts(tmp_path):
  good = {"paths": ["0.jpg"]}
  source = _source(
    tmp_path,
    b=[good | {"parts": [2, 1]}, good | {"parts": []}, good, 7],
    a=[good | {"parts": [0]}],
  )
  assert len(source) == 5
  found = [(item.key, item.source) for item in source]
  assert found == [
    ("folder/b/1/2", "set/b"),
    ("folder/b/1/1", "set/b"),
    ("folder/b/3", "set/b"),
    ("folder/b/4", "set/b"),
    ("folder/a/1", "set/a"),
  ]
  assert [source[i].instruction for i in (4, 1, 0)] == ["0", "1", "2"]
  assert [source[i].reason for i in (2, 3)] == ["missing key", "damaged row"]
  with pytest.raises(IndexError):
    source[5]


@pytest.mark.parametrize(
  ("path", "reason"),
  [
    (None, "null image"),
    ("", "null image"),
    (3, "null image"),
    ("empty.jpg", "null image"),
    ("1.jpg", "missing file"),
    ("../0.jpg", "missing file"),
  ],
)
def test_pictures_that_are_not_there(tmp_path, path, reason):
  (item,) = _source(tmp_path, a=[{"parts": [0], "paths": [path]}])
  assert item.reason == reason


def test_no_sample_at_all_is_an_error(tmp_path):
  with pytest.raises(base.SourceError, match="folder/a: got no row"):
    _source(tmp_path, a=[{"parts": []}])


def test_values_by_the_first_name_that_is_there():
  assert json_source.value({"b": None, "c": 1}, "a", "b", "c") is None
  with pytest.raises(rejection.Rejection) as caught:
    json_source.value({"c": 1}, "a", "b")
  assert caught.value.detail == "got ['c'], expected a or b"


@pytest.mark.parametrize("text", [None, "", " \n", 7])
def test_texts_that_are_empty(text):
  with pytest.raises(rejection.Rejection) as caught:
    json_source.text(text, "empty caption")
  assert caught.value.reason == "empty caption"


def test_paths_are_a_list():
  assert json_source.paths(None) == []
  assert json_source.paths("a") == ["a"]
  assert json_source.paths(["a", None]) == ["a", None]
  with pytest.raises(rejection.Rejection):
    json_source.paths({"a": 1})
