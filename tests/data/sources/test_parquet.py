"""Rows of parquet files: found, named, read by group, and errors that help."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet

PICTURES = [written.picture(shade) for shade in range(12)]
SIZES = (5, 4)  # rows of the two files; groups of 2


def table(start, size):
  rows = range(start, start + size)
  return pa.table(
    {
      "id": [f"id{n}" for n in rows],
      "image": [
        {"bytes": PICTURES[n] if n % 4 else None, "path": f"{n}.jpg"}
        for n in rows
      ],
      "raw": [PICTURES[n] for n in rows],
      "about": [
        {"text": f"text {n}", "scores": {"good": n}} if n != 3 else None
        for n in rows
      ],
      "turns": [[{"from": "human", "value": f"q{n}"}] for n in rows],
    }
  )


@pytest.fixture
def paths(tmp_path):
  start = 0
  for number, size in enumerate(SIZES):
    path = tmp_path / "data" / f"train-{number:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table(start, size), path, row_group_size=2)
    start += size
  return parquet.find(tmp_path)


def test_every_row_by_number_in_any_order(paths):
  rows = parquet.Rows(paths, ["id", "image", "raw"])
  assert len(rows) == sum(SIZES)
  for index in (*range(9), 8, 0, 5, 4):
    row = rows[index]
    assert set(row) == {"id", "image", "raw"}
    assert row["id"] == f"id{index}"
    assert row["raw"] == PICTURES[index]
    expected = PICTURES[index] if index % 4 else None
    assert parquet.image(row["image"]) == expected
  for index in (-1, 9):
    with pytest.raises(IndexError):
      rows[index]


def test_names_are_file_and_row(paths):
  rows = parquet.Rows(paths, ["id"])
  assert [rows.name(n) for n in (0, 4, 5, 8)] == [
    "train-00000/0",
    "train-00000/4",
    "train-00001/0",
    "train-00001/3",
  ]


def test_names_of_equal_files_in_two_folders_differ(tmp_path):
  for name in ("ai2d", "dvqa"):
    (tmp_path / name).mkdir()
    pq.write_table(table(0, 1), tmp_path / name / "train-0.parquet")
  rows = parquet.Rows(parquet.find(tmp_path), ["id"])
  names = [rows.name(0), rows.name(1)]
  assert names == ["ai2d/train-0/0", "dvqa/train-0/0"]


def test_one_group_is_read_and_kept(paths, monkeypatch):
  rows = parquet.Rows(paths, ["id"])
  read = []
  original = pq.ParquetFile.iter_batches

  def counted(self, *args, **options):
    read.append((options["row_groups"], options["columns"]))
    return original(self, *args, **options)

  monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
  for index in (0, 1, 0, 2, 3, 5):
    rows[index]
  assert read == [([0], ["id"]), ([1], ["id"]), ([0], ["id"])]


def test_columns_without_pictures(paths):
  rows = parquet.Rows(paths, ["id"], optional=["score"])
  assert rows.column("id") == [f"id{n}" for n in range(9)]
  expected = [f"text {n}" if n != 3 else None for n in range(9)]
  assert rows.column("about.text") == expected
  assert rows.column("about.scores.good")[2:5] == [2, None, 4]
  assert rows.column("image.path") == [f"{n}.jpg" for n in range(9)]
  assert rows.column("turns")[1] == [{"from": "human", "value": "q1"}]
  assert rows.column("score") == rows.column("score.a") == [None] * 9
  for name in ("caption", "about.none"):
    with pytest.raises(base.SourceError, match=name):
      rows.column(name)


def test_a_column_reads_no_other(paths):
  """Picture pages that are damaged do no harm to a text column."""
  for path in paths:
    data = bytearray(path.read_bytes())
    for picture in PICTURES:
      start = data.find(picture)
      while start >= 0:
        data[start : start + len(picture)] = bytes(len(picture))
        start = data.find(picture)
    path.write_bytes(bytes(data))
  rows = parquet.Rows(paths, ["id", "raw"])
  assert rows.column("id")[8] == "id8"
  assert rows.column("image.path")[8] == "8.jpg"


def test_optional_columns_may_be_in_some_files(paths):
  with_score = table(0, 5).append_column("score", pa.array([0.5] * 5))
  pq.write_table(with_score, paths[0], row_group_size=2)
  rows = parquet.Rows(paths, ["id"], optional=["score"])
  assert rows[0] == {"id": "id0", "score": 0.5}
  assert rows[8] == {"id": "id8", "score": None}
  assert rows.column("score") == [0.5] * 5 + [None] * 4


def test_missing_columns_are_named(paths):
  with pytest.raises(base.SourceError, match=r"train-00000.*raw.*'caption'"):
    parquet.Rows(paths, ["id", "caption"])


def test_pickles_in_the_middle(paths):
  rows = parquet.Rows(paths, ["id", "raw"])
  assert rows[6]["raw"] == PICTURES[6]
  data = pickle.dumps(rows)
  assert PICTURES[6] not in data
  copy = pickle.loads(data)
  assert [copy[n]["id"] for n in (6, 0)] == ["id6", "id0"]
  assert copy.name(6) == rows.name(6)


def test_files_without_rows_and_groups_without_rows(paths):
  pq.write_table(table(0, 5).slice(0, 0), paths[0])
  rows = parquet.Rows(paths, ["id"])
  assert len(rows) == 4
  assert rows[0]["id"] == "id5"
  assert rows.name(0) == "train-00001/0"
  assert rows.column("about.text") == [f"text {n}" for n in range(5, 9)]


@pytest.mark.parametrize("content", [b"", b"version git-lfs\noid sha256:1\n"])
def test_files_that_are_not_parquet(paths, content):
  paths[1].write_bytes(content)
  with pytest.raises(base.SourceError, match=r"train-00001.*git lfs pull"):
    parquet.Rows(paths, ["id"])


def test_damaged_rows_name_the_file(paths):
  rows = parquet.Rows(paths, ["raw"])
  data = paths[1].read_bytes()
  start = len(data) // 20
  paths[1].write_bytes(data[:start] + bytes(len(data) - start))
  with pytest.raises(base.SourceError, match="train-00001"):
    rows[8]


def test_find(tmp_path, paths):
  assert [path.name for path in paths] == [
    "train-00000.parquet",
    "train-00001.parquet",
  ]
  assert parquet.find(tmp_path, "data/*1.parquet") == paths[1:]
  with pytest.raises(base.SourceError, match=r"dev-\*"):
    parquet.find(tmp_path, "**/dev-*")


def test_image_cells():
  assert parquet.image(None) is None
  assert parquet.image({"bytes": None, "path": "x.jpg"}) is None
  assert parquet.image({"bytes": b"x", "path": None}) == b"x"
  assert parquet.image(b"x") == b"x"
  for cell in ("x.jpg", {"path": "x.jpg"}):
    with pytest.raises(base.SourceError, match="image cell"):
      parquet.image(cell)
