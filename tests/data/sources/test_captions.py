"""Captions from a file: matched by source and key, damage, growing files."""

import dataclasses
import json
import logging
import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import captions

PICTURE = base.Picture(b"not decoded here")


def sample(key, **changes):
  fields = {
    "key": key,
    "task": "text_to_image",
    "source": "folder/pets",
    "license": "cc0-1.0",
    "caption_source": "",
    "target": PICTURE,
    "instruction": "",
  }
  return base.Raw(**fields | changes)


def line(key, caption, source="folder/pets", model="vlm-7b"):
  return {
    "source": source,
    "key": key,
    "image_sha256": "0" * 64,
    "caption": caption,
    "model": model,
    "prompt": "plain",
  }


def with_captions(tmp_path, items, lines):
  path = tmp_path / "captions.jsonl"
  written.json_lines(path, lines)
  return captions.WithCaptions(items, path)


def test_missing_captions_are_filled(tmp_path):
  items = [sample("b"), sample("ä/1")]
  lines = [line("ä/1", " Eins. "), line("b", "Two.", model="other")]
  source = with_captions(tmp_path, items, lines)
  assert len(source) == 2
  # In a text-to-image sample the caption is the instruction as well.
  assert source[0] == dataclasses.replace(
    items[0], caption="Two.", instruction="Two.", caption_source="other"
  )
  assert source[1].caption == "Eins."


def test_only_the_caption_of_an_edit_is_filled(tmp_path):
  item = sample("a", task="edit", instruction="Do.", conditions=(PICTURE,))
  source = with_captions(tmp_path, [item], [line("a", "Done.")])
  assert source[0] == dataclasses.replace(
    item, caption="Done.", caption_source="vlm-7b"
  )


def test_what_needs_no_caption_stays_as_it_is(tmp_path):
  items = [
    sample("a", caption="Mine.", instruction="Mine.", caption_source="dataset"),
    sample("b", task="understanding", question="Why?"),
    base.Rejected(key="c", source="folder/pets", reason="null image"),
  ]
  lines = [line(key, "Another.") for key in "abc"]
  source = with_captions(tmp_path, items, lines)
  assert [source[i] for i in range(3)] == items


def test_source_and_key_must_both_match(tmp_path):
  items = [sample("a"), sample("b"), sample("ts/a", source="folder/pe")]
  lines = [
    line("a", "Elsewhere.", source="folder/cats"),
    line("c", "Another key."),
    line("z", "", source="folder/pets"),
    line("ts/b", "Only looks alike.", source="folder/pe"),
  ]
  source = with_captions(tmp_path, items, lines)
  assert [source[i].reason for i in range(3)] == ["no caption"] * 3
  assert "python -m unialign_jax.recaption" in source[0].detail
  assert str(tmp_path / "captions.jsonl") in source[0].detail


def test_where_a_source_ends_and_a_key_begins_counts(tmp_path):
  lines = [line("b", "Mine."), line("tsb", "Another.", source="folder/pe")]
  assert with_captions(tmp_path, [sample("b")], lines)[0].caption == "Mine."


def test_a_hash_that_two_samples_share_is_no_match(tmp_path, monkeypatch):
  monkeypatch.setattr(captions, "_hash", lambda source, key: 7)
  source = with_captions(tmp_path, [sample("a")], [line("b", "Of b.")])
  assert source[0].reason == "no caption"


def test_the_last_line_of_a_sample_wins(tmp_path):
  lines = [line("a", "First.")]
  lines += [line(f"x{i}", "Between.") for i in range(50)]
  lines += [line("a", "Second."), line("a", "Third."), line("b", "B.")]
  lines += [line("b", "  ")]
  source = with_captions(tmp_path, [sample("a"), sample("b")], lines)
  assert source[0].caption == "Third."
  assert source[1].reason == "no caption"
  assert "an empty caption" in source[1].detail


def test_no_lines_at_all(tmp_path):
  source = with_captions(tmp_path, [sample("a")], [])
  assert source[0].reason == "no caption"
  with pytest.raises(base.SourceError, match="no such file"):
    captions.WithCaptions([], tmp_path / "nowhere.jsonl")


def test_bom_windows_lines_and_no_end_of_line(tmp_path):
  path = tmp_path / "captions.jsonl"
  a, b = json.dumps(line("a", "A.")), json.dumps(line("b", "B."))
  written.file(path, b"\xef\xbb\xbf" + f"{a}\r\n\r\n{b}".encode())
  source = captions.WithCaptions([sample("a"), sample("b")], path)
  assert [source[i].caption for i in range(2)] == ["A.", "B."]


@pytest.mark.parametrize(
  "damaged",
  (
    b'{"source": "folder/pets", "ke',
    b"[1, 2]",
    b"\xff\xfe",
    json.dumps(line("b", "B.") | {"key": None}).encode(),
    json.dumps(line("b", None)).encode(),
    json.dumps(line("b", "B.", model=3)).encode(),
  ),
)
def test_a_damaged_line_is_named(tmp_path, damaged):
  good = json.dumps(line("a", "A.")).encode()
  path = tmp_path / "captions.jsonl"
  for lines in ((good, damaged, good), (good, damaged, b"")):
    written.file(path, b"\n".join(lines))
    with pytest.raises(base.SourceError, match="line 2"):
      captions.WithCaptions([], path)


def test_an_unfinished_last_line_is_ignored_with_a_warning(tmp_path, caplog):
  good, last = (json.dumps(line(key, "Done.")).encode() for key in "ab")
  path = tmp_path / "captions.jsonl"
  written.file(path, good + b"\n" + last[:40])
  with caplog.at_level(logging.WARNING):
    source = captions.WithCaptions([sample("a"), sample("b")], path)
  assert "unfinished last line" in caplog.text
  assert source[0].caption == "Done."
  assert source[1].reason == "no caption"
  # What is written afterwards moves nothing of what was read.
  written.file(path, good + b"\n" + last + b"\n")
  assert source[0].caption == "Done."
  assert captions.WithCaptions([sample("b")], path)[0].caption == "Done."


def test_a_copy_in_another_process_gives_the_same(tmp_path):
  source = with_captions(tmp_path, [sample("a")], [line("a", "A.")])
  assert source[0].caption == "A."  # opens the file
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == source[0]
