"""Shards of several folders become one set, or what is missing is named."""

import pathlib
import shutil

import pytest

from tests.features import fakes
from tests.features import written
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import merge


@pytest.fixture
def copied(tmp_path: pathlib.Path) -> pathlib.Path:
  """The shards of three workers, each with a folder of its own."""
  for index in range(3):
    written.write(tmp_path / str(index), worker=(index, 3))
    shutil.copytree(tmp_path / str(index), tmp_path / "all", dirs_exist_ok=True)
  assert not (tmp_path / "all" / manifest_lib.FILENAME).exists()
  return tmp_path / "all"


def test_merged_is_what_one_worker_writes(copied, tmp_path):
  whole = written.write(tmp_path / "whole")
  assert merge.merge(copied) == whole
  assert written.contents(copied) == written.contents(tmp_path / "whole")
  assert merge.merge(copied) == whole


def remove_entries(folder):
  for number in (1, 3):
    (folder / f"parts/shard-{number:05d}.json").unlink()


def add_entry(folder):
  parts = folder / "parts"
  shutil.copy(parts / "shard-00003.json", parts / "shard-00004.json")


def remove_last(folder):
  (folder / "parts/shard-00003.json").unlink()


def remove_file(folder):
  (folder / "shard-00002.arrayrecord").unlink()


def cut(folder):
  path = folder / "shard-00002.arrayrecord"
  path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
  path = folder / "shard-00002.arrayrecord"
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)


def remove_null_prompt(folder):
  (folder / manifest_lib.NULL_PROMPT_FILENAME).unlink()


@pytest.mark.parametrize(
  ("fault", "message"),
  [
    (remove_entries, "2 of 4 shards missing: 1, 3"),
    (remove_last, "1 of 4 shards missing: 3"),
    (add_entry, "expected 4 shards in all"),
    (remove_file, r"shard-00002.arrayrecord: got no file"),
    (cut, r"shard-00002.arrayrecord: got \d+ bytes, expected \d+"),
    (flip, r"shard-00002.arrayrecord: got sha256 \w+, expected \w+"),
    (remove_null_prompt, "null_prompt.*worker 0"),
    (lambda folder: shutil.rmtree(folder / "parts"), "no entry of a shard"),
  ],
)
def test_what_is_not_whole_is_refused(copied, fault, message):
  fault(copied)
  with pytest.raises(manifest_lib.ManifestError, match=message):
    merge.merge(copied)
  assert not (copied / manifest_lib.FILENAME).exists()


def test_shards_of_another_layout_are_refused(copied, tmp_path):
  written.write(tmp_path / "other", worker=(2, 3), seed=5)
  shutil.copytree(tmp_path / "other", copied, dirs_exist_ok=True)
  with pytest.raises(
    manifest_lib.ManifestError, match=r"shard-00002.*another set.*seed 5, not 0"
  ):
    merge.merge(copied)


def test_a_stream_of_unknown_length_is_refused(tmp_path):
  written.write(tmp_path, items=iter(written.ITEMS), worker=(0, 2))
  with pytest.raises(manifest_lib.ManifestError, match="unknown length"):
    merge.merge(tmp_path)


def test_a_set_without_a_record_is_refused(tmp_path):
  bad = fakes.sample(0, caption=f"#{fakes.MASK_ID}")
  with pytest.raises(
    manifest_lib.ManifestError, match=r"(?s)no record.*1  can"
  ):
    written.write(tmp_path, items=[bad])
