"""A folder of pictures: every way of captions, and what is wrong with some."""

import json
import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import folder
from unialign_jax.data.sources import pictures

PICTURE = written.picture(1)


@pytest.fixture
def root(tmp_path):
  """Four pictures without captions."""
  path = tmp_path / "pets"
  for name in ("a.jpg", "b.PNG", "deep/c.webp", "Größe/猫.jpeg"):
    form = {"b.PNG": "PNG", "deep/c.webp": "WEBP"}.get(name, "JPEG")
    written.file(path / name, written.picture(len(name), form))
  written.file(path / ".hidden/d.jpg", PICTURE)
  written.file(path / "._a.jpg", b"a Mac's notes")
  return path


def items(root, **options):
  """Items by key; their order is checked here."""
  source = folder.open_source(root, **options)
  found = [source[i] for i in range(len(source))]
  keys = [item.key for item in found]
  assert keys == sorted(set(keys))
  return dict(zip(keys, found))


def reasons(found):
  return {k: i.reason for k, i in found.items() if isinstance(i, base.Rejected)}


def captions(found):
  return {k: i.caption for k, i in found.items() if isinstance(i, base.Raw)}


def test_pictures_without_captions_are_left_to_be_captioned(root):
  found = items(root)
  assert captions(found) == dict.fromkeys(
    ("Größe/猫.jpeg", "a.jpg", "b.PNG", "deep/c.webp"), ""
  )
  item = found["deep/c.webp"]
  assert item == base.Raw(
    key="deep/c.webp",
    task="text_to_image",
    source="folder/pets",
    license="not stated",
    caption_source="",
    target=base.Picture((root / "deep/c.webp").read_bytes()),
    instruction="",
  )
  assert pictures.decode(item.target).shape == (6, 8, 3)


def test_not_recursive(root):
  assert list(items(root, recursive=False)) == ["a.jpg", "b.PNG"]


def test_texts_beside(root):
  written.file(root / "a.txt", "﻿A cat.\r\nIt sleeps.\r\n")
  written.file(root / "Größe/猫.txt", " Eine Katze \n")
  found = items(root, license="cc0-1.0")
  assert captions(found) == {
    "Größe/猫.jpeg": "Eine Katze",
    "a.jpg": "A cat.\nIt sleeps.",
    "b.PNG": "",
    "deep/c.webp": "",
  }
  item = found["a.jpg"]
  assert item.instruction == item.caption
  assert (item.caption_source, item.license) == ("dataset", "cc0-1.0")
  assert found["b.PNG"].caption_source == ""


def test_bad_texts_beside(root):
  written.file(root / "a.txt", "Übel".encode("latin-1"))
  written.file(root / "b.txt", " \r\n")
  written.file(root / "deep/lonely.txt", "Nothing to see.")
  found = items(root)
  assert reasons(found) == {
    "a.jpg": "not UTF-8",
    "b.PNG": "empty caption",
    "deep/lonely.txt": "missing file",
  }


def test_one_caption_of_two_pictures(root):
  written.file(root / "a.png", written.picture(9, "PNG"))
  assert reasons(items(root)) == {}  # no caption that is in question
  written.file(root / "a.txt", "Which?")
  found = items(root)
  assert reasons(found) == dict.fromkeys(("a.jpg", "a.png"), "duplicate stem")
  assert "a.txt" in found["a.jpg"].detail
  # The same stem in another folder is another picture.
  written.file(root / "deep/a.jpg", PICTURE)
  assert captions(items(root))["deep/a.jpg"] == ""


def test_json_beside(root):
  written.file(root / "a.json", json.dumps({"caption": "C", "text": "T"}))
  written.file(root / "b.json", b"\xef\xbb\xbf" + b'{"prompt": " P "}')
  written.file(root / "deep/c.json", '{"text": 3}')
  written.file(root / "Größe/猫.json", '{"title": "T"}')
  found = items(root)
  assert captions(found) == {"a.jpg": "C", "b.PNG": "P"}
  assert reasons(found) == {
    "deep/c.webp": "empty caption",
    "Größe/猫.jpeg": "missing key",
  }
  assert captions(items(root, text_key="title")) == {"Größe/猫.jpeg": "T"}
  written.file(root / "a.json", '{"caption": ')
  written.file(root / "b.json", "[1]")
  written.file(root / "deep/c.json", b'{"text": "\xff"}')
  written.file(root / "Größe/猫.json", '{"text": "\\ud83d"}')
  assert reasons(items(root)) == {
    "a.jpg": "damaged json",
    "b.PNG": "damaged json",
    "deep/c.webp": "not UTF-8",
    "Größe/猫.jpeg": "not UTF-8",
  }


def test_metadata_jsonl(root):
  lines = (
    b"\xef\xbb\xbf"
    b'{"file_name": "a.jpg", "text": "A cat"}\r\n'
    b"\r\n"
    b'{"file_name": "x.jpg", "text": "Gone"}\n'
    b'{"file_name": "b.PNG", "text": ""}\n'
    b'{"file_name": "a.jpg", "text": "Another"}\n'
    b'{"file_name": "a.jpg", "te\n'
    b'{"text": "Whose?"}\n'
    b'{"file_name": "../pets/a.jpg", "text": "Out"}\n'
    b'{"file_name": "b.PNG", "text": "\xff"}'
  )
  written.file(root / "metadata.jsonl", lines)
  # Names in a table count from its own folder; accents as macOS spells them.
  written.json_lines(
    root / "Größe/metadata.jsonl",
    [{"file_name": "猫.jpeg", "text": "Katze"}],
  )
  found = items(root)
  assert captions(found) == {
    "a.jpg": "A cat",
    "Größe/猫.jpeg": "Katze",
    "deep/c.webp": "",
  }
  assert reasons(found) == {
    "metadata.jsonl:3": "missing file",
    "metadata.jsonl:4": "empty caption",
    "metadata.jsonl:5": "duplicate line",
    "metadata.jsonl:6": "damaged line",
    "metadata.jsonl:7": "missing key",
    "metadata.jsonl:8": "missing file",
    "metadata.jsonl:9": "damaged line",
  }
  assert "line 6" in found["metadata.jsonl:6"].detail


def test_accents_of_another_file_system(root):
  decomposed = "Gro\u0308ße/猫.jpeg"
  assert decomposed not in items(root)
  written.json_lines(
    root / "metadata.jsonl", [{"file_name": decomposed, "text": "Katze"}]
  )
  found = items(root)
  assert reasons(found) == {}
  assert captions(found)["Größe/猫.jpeg"] == "Katze"


def test_captions_csv(root):
  written.file(
    root / "captions.csv",
    b"\xef\xbb\xbffile_name,caption\r\n"
    b'a.jpg,"A cat, asleep"\r\n'
    b"b.PNG\r\n"
    b"deep/c.webp,One,two\r\n"
    b"x.jpg,Gone\r\n"
    b"Gr\xc3\xb6\xc3\x9fe/\xe7\x8c\xab.jpeg,\xff\r\n",
  )
  found = items(root)
  # Lines that name no picture leave it without a caption, not without notice.
  assert captions(found) == {
    "a.jpg": "A cat, asleep",
    "b.PNG": "",
    "deep/c.webp": "",
  }
  assert reasons(found) == {
    "captions.csv:3": "damaged line",
    "captions.csv:4": "damaged line",
    "captions.csv:5": "missing file",
    "captions.csv:6": "not UTF-8",
  }


def test_csv_without_the_columns(root):
  written.file(root / "captions.csv", "name,caption\na.jpg,A cat\n")
  with pytest.raises(base.SourceError, match=r"'name', 'caption'.*file_name"):
    folder.open_source(root)
  written.file(root / "captions.csv", "file_name,title\na.jpg,A cat\n")
  with pytest.raises(base.SourceError, match="set text_key"):
    folder.open_source(root)
  assert captions(items(root, text_key="title"))["a.jpg"] == "A cat"


def test_csv_that_is_cut_off(root):
  written.file(root / "captions.csv", 'file_name,caption\na.jpg,"A ca')
  with pytest.raises(base.SourceError, match=r"captions\.csv line 2"):
    folder.open_source(root)


def test_captions_of_two_kinds_need_a_choice(root):
  written.file(root / "a.txt", "Text")
  written.file(root / "b.json", '{"text": "Json"}')
  written.json_lines(
    root / "metadata.jsonl", [{"file_name": "a.jpg", "text": "Meta"}]
  )
  with pytest.raises(base.SourceError, match=r"'json', 'metadata', 'txt'"):
    folder.open_source(root)
  assert captions(items(root, captions="txt"))["a.jpg"] == "Text"
  assert captions(items(root, captions="json"))["b.PNG"] == "Json"
  assert captions(items(root, captions="metadata"))["a.jpg"] == "Meta"
  assert set(captions(items(root, captions="none")).values()) == {""}
  with pytest.raises(base.SourceError, match="captions='csv'"):
    folder.open_source(root, captions="csv")
  with pytest.raises(base.SourceError, match="expected one of"):
    folder.open_source(root, captions="xml")


def test_a_picture_that_is_gone_or_empty(root):
  source = folder.open_source(root)
  (root / "a.jpg").unlink()
  (root / "b.PNG").write_bytes(b"")
  found = {source[i].key: source[i] for i in range(len(source))}
  assert reasons(found) == {"a.jpg": "missing file", "b.PNG": "null image"}


def test_a_name_that_is_not_utf_8(root):
  # As os.listdir gives a name of Latin-1 bytes.
  name = b"\xe4.jpg".decode(errors="surrogateescape")
  try:
    (root / name).write_bytes(PICTURE)
  except OSError:
    pytest.skip("the file system holds UTF-8 names only")
  found = items(root)
  assert reasons(found) == {"\\udce4.jpg": "file name not UTF-8"}


def test_no_pictures(tmp_path):
  written.file(tmp_path / "a.txt", "A cat")
  with pytest.raises(base.SourceError, match="no picture among 1 files"):
    folder.open_source(tmp_path)
  with pytest.raises(base.SourceError, match="no picture among 0 files"):
    folder.open_source(tmp_path / "nowhere")


def test_a_copy_in_another_process_gives_the_same(root):
  written.file(root / "a.txt", "A cat")
  source = folder.open_source(root)
  copy = pickle.loads(pickle.dumps(source))
  assert [copy[i] for i in range(len(copy))] == [
    source[i] for i in range(len(source))
  ]
