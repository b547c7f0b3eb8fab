"""The captions file survives any end, and belongs to one run at a time."""

import dataclasses
import hashlib
import json

import pytest

from tests.features.captioning import fakes
from unialign_jax.data.sources import base
from unialign_jax.data.sources import captions as captions_lib
from unialign_jax.features.captioning import ledger as ledger_lib

LINE = ledger_lib.Line(
  source="fake/edits",
  key="train/1",
  image_sha256="ab",
  caption="Ein Käfer.",
  model="tiny",
  prompt="edit-1",
)
OTHER = dataclasses.replace(LINE, key="train/2", image_sha256="cd")


def write(path, *lines):
  ledger = ledger_lib.Ledger(path)
  for line in lines:
    ledger.add(line)
  ledger.close()


def test_lines_are_found_again(tmp_path):
  path = tmp_path / "new" / "captions.jsonl"
  write(path, LINE)
  write(path, OTHER)
  found = [json.loads(line) for line in path.read_text().splitlines()]
  assert found == [dataclasses.asdict(LINE), dataclasses.asdict(OTHER)]
  ledger = ledger_lib.Ledger(path)
  assert ledger.finished == {
    ("fake/edits", "train/1"),
    ("fake/edits", "train/2"),
  }
  assert ledger.captions == {
    ("ab", "tiny", "edit-1"): "Ein Käfer.",
    ("cd", "tiny", "edit-1"): "Ein Käfer.",
  }
  ledger.close()


def test_a_line_is_in_the_file_as_soon_as_it_is_added(tmp_path):
  path = tmp_path / "captions.jsonl"
  ledger = ledger_lib.Ledger(path)
  ledger.add(LINE)
  assert fakes.lines(path) == [dataclasses.asdict(LINE)]
  ledger.close()


@pytest.mark.parametrize("missing", [1, 5, 60])
def test_an_unfinished_last_line_is_taken_off(tmp_path, missing):
  path = tmp_path / "captions.jsonl"
  write(path, LINE, OTHER)
  path.write_bytes(path.read_bytes()[:-missing])
  ledger = ledger_lib.Ledger(path)
  assert ledger.finished == {("fake/edits", "train/1")}
  ledger.add(OTHER)
  ledger.close()
  assert [line["key"] for line in fakes.lines(path)] == ["train/1", "train/2"]


@pytest.mark.parametrize("text", ["{", "[]", '{"source": "a"}'])
def test_a_damaged_line_is_named(tmp_path, text):
  path = tmp_path / "captions.jsonl"
  write(path, LINE)
  with path.open("a") as file:
    file.write(text + "\n")
  with pytest.raises(
    ValueError, match=r"captions\.jsonl, line 2: got .*remove"
  ):
    ledger_lib.Ledger(path)


def test_two_runs_do_not_write_one_file(tmp_path):
  path = tmp_path / "captions.jsonl"
  first = ledger_lib.Ledger(path)
  with pytest.raises(ValueError, match="another run is writing it"):
    ledger_lib.Ledger(path)
  first.close()
  ledger_lib.Ledger(path).close()


def test_a_bucket_is_refused():
  with pytest.raises(ValueError, match="expected a local file"):
    ledger_lib.Ledger("gs://bucket/captions.jsonl")


def test_a_key_that_is_no_utf8(tmp_path):
  path = tmp_path / "captions.jsonl"
  write(path, dataclasses.replace(LINE, key="\udcff.jpg"))
  ledger = ledger_lib.Ledger(path)
  assert ledger.finished == {("fake/edits", "\udcff.jpg")}
  ledger.close()


def test_sha256_is_of_the_file_and_the_box():
  whole = base.Picture(b"file")
  assert ledger_lib.image_sha256(whole) == hashlib.sha256(b"file").hexdigest()
  left = ledger_lib.image_sha256(base.Picture(b"file", (0, 0, 1, 1)))
  right = ledger_lib.image_sha256(base.Picture(b"file", (1, 0, 2, 1)))
  assert len({ledger_lib.image_sha256(whole), left, right}) == 3


def test_sources_find_the_captions(tmp_path):
  path = tmp_path / "captions.jsonl"
  write(path, LINE)
  filled = captions_lib.WithCaptions([fakes.raw(1), fakes.raw(2)], path)
  assert filled[0].caption == "Ein Käfer."
  assert filled[0].caption_source == "tiny"
  assert filled[1].reason == "no caption"
