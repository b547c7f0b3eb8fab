"""Tars and parquet files that claim too much, or hold text that is none."""

import io
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.sources import written
from tests.security import limited
from unialign_jax.bench import fuzz_repair
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import registry
from unialign_jax.data.sources import tar_index
from unialign_jax.data.sources import tars

MB = 10**6


def header(name: str, kind: bytes, size: int) -> bytes:
  info = tarfile.TarInfo(name)
  info.type, info.size = kind, size
  return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
  return data + bytes(-len(data) % 512)


def tar_with(path, middle: bytes) -> None:
  """A good member, what is given, and another good member."""
  written.tar(path, [("0.jpg", written.picture(0))])
  whole = path.read_bytes()
  member = whole[: 512 + len(padded(written.picture(0)))]
  path.write_bytes(member + middle + member.replace(b"0.jpg", b"1.jpg"))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("size", [10**6, 2**40, 8**11 - 1, 2**63, 2**80])
def test_an_extended_header_has_a_size(tmp_path, kind, size):
  path = tmp_path / "0.tar"
  tar_with(path, header("x", kind, size) + bytes(2**21))
  begin = time.process_time()
  index = tar_index.read(tars.epath.Path(path))
  assert time.process_time() - begin < 1
  assert index.is_truncated
  assert [member.name for member in index.members] == ["0.jpg"]


def test_extended_headers_in_a_row_end_the_tar(tmp_path):
  path = tmp_path / "0.tar"
  record = padded(b"11 path=abc\n")
  tar_with(path, (header("x", b"x", 12) + record) * 5000)
  index = tar_index.read(tars.epath.Path(path))
  assert index.is_truncated
  assert [member.name for member in index.members] == ["0.jpg"]


def test_an_extended_header_of_digits_takes_no_time(tmp_path):
  """What is searched in quadratic time is short."""
  path = tmp_path / "0.tar"
  text = b"1" * (2**16 - 512)
  tar_with(path, header("x", b"x", len(text)) + padded(text))
  begin = time.process_time()
  tar_index.read(tars.epath.Path(path))
  assert time.process_time() - begin < 5


def test_long_names_and_attributes_are_still_read(tmp_path):
  path = tmp_path / "0.tar"
  with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
    info = tarfile.TarInfo("é" * 1500 + ".jpg")
    info.pax_headers = {"LIBARCHIVE.xattr.note": "x" * 40_000}
    info.size = 3
    archive.addfile(info, io.BytesIO(b"abc"))
  assert tars.Archive(path).read("é" * 1500 + ".jpg") == b"abc"


def test_a_name_that_is_not_utf8_is_rejected_with_its_sample(tmp_path):
  path = tmp_path / "data_512_2M" / "0.tar"
  written.tar(
    path, [("a0.jpg", written.picture(0)), ("a0.json", b'{"prompt": "text"}')]
  )
  path.write_bytes(
    fuzz_repair.tar(path.read_bytes().replace(b"a0.j", b"\xff0.j"))
  )
  source = registry.open_source("text_to_image_2m", tmp_path)
  item = decoded.Decoded(source, side=8)[0]
  assert item.reason == "not UTF-8"
  assert item.key == "0/\\udcff0"


def repeated(path) -> None:
  """A gigabyte of text in a hundred kilobytes."""
  places = pa.array(np.zeros(10**6, np.int32))
  column = pa.DictionaryArray.from_arrays(places, ["a" * 900])
  # Without the schema of Arrow, which would read it as a dictionary again.
  pq.write_table(pa.table({"text": column}), path, store_schema=False)
  assert path.stat().st_size < 100_000


_RUN = """
import pathlib, tempfile
from tests.security import test_archives
from unialign_jax.data.sources import base, parquet
folder = tempfile.TemporaryDirectory()
path = pathlib.Path(folder.name) / "0.parquet"
test_archives.repeated(path)
parquet._ALWAYS_FITS = 10**7
rows = parquet.Rows([parquet.epath.Path(path)], ["text"])
# limited
for read in (lambda: rows[0], lambda: rows.column("text")):
  try:
    read()
    raise AssertionError("a gigabyte was read")
  except base.SourceError as e:
    assert "out of so small a file" in str(e)
"""


def test_a_run_of_values_is_no_table():
  assert limited.run(_RUN, extra_bytes=1 << 32) < 150 * MB


_PAGE = """
import pathlib, tempfile
import pyarrow as pa, pyarrow.parquet as pq
from unialign_jax.data.sources import base, parquet
folder = tempfile.TemporaryDirectory()
path = pathlib.Path(folder.name) / "0.parquet"
small = pathlib.Path(folder.name) / "1.parquet"
pq.write_table(pa.table({"text": ["a"]}), small, compression="gzip")
def first(path):
  try:
    parquet.Rows([parquet.epath.Path(path)], ["text"])[0]
  except base.SourceError as e:
    return str(e)
first(small)
table = pa.table({"text": ["a" * 10**8]})
pq.write_table(
  table,
  path,
  compression="gzip",
  compression_level=1,
  use_dictionary=False,
  write_statistics=False,
)
del table
pa.default_memory_pool().release_unused()
parquet._ALWAYS_FITS = 10**7
# limited
assert "out of so small a file" in first(path)
"""


def test_a_page_that_expands_is_not_read():
  assert limited.run(_PAGE, extra_bytes=1 << 31) < 30 * MB


def test_an_ordinary_text_table_is_read(tmp_path):
  """What data sets have shrinks much less."""
  texts = [f"a caption of picture {n} " * 9 for n in range(3000)]
  path = tmp_path / "0.parquet"
  pq.write_table(pa.table({"text": texts}), path, compression="zstd")
  rows = parquet.Rows([parquet.epath.Path(path)], ["text"])
  assert rows.column("text") == texts and rows[2999]["text"] == texts[-1]


def test_text_that_is_not_utf8_is_passed_through(tmp_path):
  bad = pa.array([b"\xff\xfe", b"good", None], pa.binary())
  text = pa.Array.from_buffers(pa.string(), 3, bad.buffers())
  table = pa.table(
    {
      "text": text,
      "inner": pa.StructArray.from_arrays([text], ["value"]),
      "several": pa.ListArray.from_arrays([0, 1, 2, 3], text),
      "number": [1, 2, 3],
    }
  )
  path = tmp_path / "0.parquet"
  pq.write_table(table, path)
  rows = parquet.Rows([parquet.epath.Path(path)], table.column_names)
  passed = "\udcff\udcfe"
  assert rows.column("text") == [passed, "good", None]
  assert rows[0] == {
    "text": passed,
    "inner": {"value": passed},
    "several": [passed],
    "number": 1,
  }
  assert rows[1]["inner"] == {"value": "good"} and rows[2]["text"] is None


def test_a_row_whose_text_is_not_utf8_is_rejected_alone(tmp_path):
  picture = {"bytes": written.picture(3), "path": None}
  bad = pa.array([b"\xffbad", b"good"], pa.binary())
  text = pa.Array.from_buffers(pa.string(), 2, bad.buffers())
  table = pa.table(
    {
      "img_id": ["1", "2"],
      "turn_index": [1, 1],
      "source_img": [picture] * 2,
      "mask_img": [picture] * 2,
      "instruction": text,
      "target_img": [picture] * 2,
    }
  )
  (tmp_path / "data").mkdir()
  pq.write_table(table, tmp_path / "data" / "train-0.parquet")
  source = registry.open_source("magicbrush", tmp_path, turns="all")
  items = decoded.Decoded(source, side=8)
  assert items[0].reason == "not UTF-8" and "instruction" in items[0].detail
  assert items[1].reason == "no caption"
