"""BLIP3o: pictures of any format + txt in tars."""

import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import blip3o


@pytest.fixture
def root(tmp_path):
  written.tar(
    tmp_path / "text_1.tar",
    [
      ("0.txt", b"A sign.\n"),
      ("0.jpg", written.picture(0)),
      ("1.PNG", written.picture(1, "PNG")),
      ("1.txt", "Caf\u00e9.".encode()),
      ("2.webp", written.picture(2, "WEBP")),
      ("2.txt", b"Web."),
      ("3.jpg", written.picture(3)),
      ("3.txt", b"first"),
      ("3.jpg", written.picture(4)),
      ("4.jpg", written.picture(5)),
      ("4.png", written.picture(6, "PNG")),
      ("4.txt", b"two pictures"),
      ("5.jpg", written.picture(7)),
      ("5.txt", b" \n"),
      ("6.jpg", written.picture(8)),
      ("7.txt", b"no picture"),
      ("8.jpg", b""),
      ("8.txt", b"an empty picture"),
      ("9.jpg", written.picture(9)),
      ("9.txt", b"\xff"),
    ],
  )
  written.tar(
    tmp_path / "dalle3.tar",
    {"d/0.jpeg": written.picture(10), "d/0.txt": b"From another tar."},
  )
  return tmp_path


def test_samples_by_value(root):
  items = list(blip3o.open_source(root))
  assert items[0].key.startswith("dalle3/")
  assert items[0].caption == "From another tar."
  assert items[1] == base.Raw(
    key="text_1/0",
    task="text_to_image",
    source="blip3o/60k",
    license="apache-2.0",
    caption_source="dataset",
    target=base.Picture(written.picture(0)),
    instruction="A sign.",
    caption="A sign.",
  )
  assert [(item.caption, item.target.data) for item in items[2:4]] == [
    ("Caf\u00e9.", written.picture(1, "PNG")),
    ("Web.", written.picture(2, "WEBP")),
  ]
  assert [(item.key, item.reason) for item in items[4:]] == [
    ("text_1/3", "duplicate stem"),
    ("text_1/4", "duplicate stem"),
    ("text_1/5", "empty caption"),
    ("text_1/6", "missing file"),
    ("text_1/7", "missing file"),
    ("text_1/8", "null image"),
    ("text_1/9", "damaged text"),
  ]


def test_the_part_goes_into_the_source(root):
  source = blip3o.open_source(root, part="short_caption")
  assert {item.source for item in source} == {"blip3o/short_caption"}
  with pytest.raises(base.SourceError, match="got part='long'"):
    blip3o.open_source(root, part="long")


def test_a_copy_gives_the_same(root):
  source = blip3o.open_source(root)
  items = list(source)
  assert list(pickle.loads(pickle.dumps(source))) == items


def test_no_tars_is_an_error(tmp_path):
  with pytest.raises(base.SourceError):
    blip3o.open_source(tmp_path)
