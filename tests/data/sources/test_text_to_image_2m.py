"""Text-to-Image-2M: jpg + json in tars, folder by folder."""

import json
import pickle
import tarfile

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import text_to_image_2m


def _json(**fields) -> bytes:
  return json.dumps(fields).encode()


@pytest.fixture
def root(tmp_path):
  written.tar(
    tmp_path / "data_512_2M/data_000001.tar",
    {"000.jpg": written.picture(9), "000.json": _json(prompt="of shard 1")},
  )
  written.tar(
    tmp_path / "data_512_2M/data_000000.tar",
    {
      "000.jpg": written.picture(0),
      "000.json": _json(prompt=" a cat \n", caption="other"),
      "001.jpg": written.picture(1),
      "001.json": _json(prompt="", caption="a dog"),
      "002.jpg": written.picture(2),
      "002.json": _json(prompt=" "),
      "003.json": _json(prompt="no picture"),
      "004.jpg": written.picture(4),
      "005.jpg": written.picture(5),
      "005.json": b'{"prompt": ',
      "006.jpg": written.picture(6),
      "006.json": _json(text="another key"),
    },
  )
  written.tar(
    tmp_path / "data_1024_10K/data_000000.tar",
    {"7.jpg": written.picture(7), "7.json": _json(caption="large")},
  )
  return tmp_path


def test_samples_by_value(root):
  items = list(text_to_image_2m.open_source(root))
  assert items[0] == base.Raw(
    key="data_000000/000",
    task="text_to_image",
    source="text_to_image_2m/data_512_2M",
    license="mit",
    caption_source="dataset",
    target=base.Picture(written.picture(0)),
    instruction="a cat",
    caption="a cat",
  )
  assert (items[1].key, items[1].caption) == ("data_000000/001", "a dog")
  assert (items[7].key, items[7].caption) == ("data_000001/000", "of shard 1")
  assert [(item.key, item.reason) for item in items[2:7]] == [
    ("data_000000/002", "empty caption"),
    ("data_000000/003", "missing file"),
    ("data_000000/004", "missing file"),
    ("data_000000/005", "damaged json"),
    ("data_000000/006", "missing key"),
  ]
  assert len(items) == 8


def test_the_other_folder_is_another_source(root):
  (item,) = text_to_image_2m.open_source(root, resolution=1024)
  assert item.source == "text_to_image_2m/data_1024_10K"
  assert (item.caption, item.target.data) == ("large", written.picture(7))
  with pytest.raises(base.SourceError, match="got resolution=256"):
    text_to_image_2m.open_source(root, resolution=256)


def test_a_truncated_tar_gives_what_is_whole(root):
  path = root / "data_1024_10K/data_000000.tar"
  written.tar(
    path,
    {
      "7.jpg": written.picture(7),
      "7.json": _json(prompt="whole"),
      "8.jpg": written.picture(8, size=(200, 200)),
      "8.json": _json(prompt="cut"),
    },
  )
  with tarfile.open(path) as archive:
    start = archive.getmember("8.jpg").offset_data
  written.cut(path, start + 100)
  whole, cut = text_to_image_2m.open_source(root, resolution=1024)
  assert whole.caption == "whole"
  assert (cut.key, cut.reason) == ("data_000000/8", "truncated tar")


def test_a_copy_gives_the_same(root):
  source = text_to_image_2m.open_source(root)
  items = list(source)
  assert list(pickle.loads(pickle.dumps(source))) == items


def test_compressed_tars_are_refused(tmp_path):
  written.file(tmp_path / "data_512_2M/data_000000.tar.gz", b"")
  with pytest.raises(base.SourceError, match=r"tar\.gz"):
    text_to_image_2m.open_source(tmp_path)
