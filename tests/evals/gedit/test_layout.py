"""GEdit-Bench's folder, file by file."""

import io
import pathlib

import pytest
from PIL import Image

from tests.evals.gedit import files
from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import layout


def _item(key: str, picture, task: str = "ps_human") -> dataset.Item:
  return dataset.Item(
    task=task,
    language="en",
    key=key,
    instruction=f"do {key}",
    picture=picture,
    intersection=True,
  )


def test_wanted_is_one_picture_an_item(tmp_path: pathlib.Path):
  items = [_item("k1", b"one"), _item("k2", tmp_path, "subject-add")]
  first, second = layout.wanted(items, 5)
  assert first.path == "fullset/ps_human/en/k1.png"
  assert second.path == "fullset/subject-add/en/k2.png"
  assert (first.images, second.images) == ((b"one",), (tmp_path,))
  assert (first.text, first.seed, first.group) == ("do k1", 5, "ps_human")
  assert first.framing == "squash"


def test_sources_lie_beside_as_png(tmp_path: pathlib.Path):
  png, jpeg = files.picture(10), files.picture(200, form="JPEG")
  path = tmp_path / "x.jpg"
  path.write_bytes(jpeg)
  out = tmp_path / "out"
  items = [_item("k1", png), _item("k2", jpeg), _item("k3", path)]
  layout.finish(out, items)
  assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == [
    f"fullset/ps_human/en/{key}_SRCIMG.png" for key in ("k1", "k2", "k3")
  ]
  place = out / "fullset/ps_human/en"
  assert (place / "k1_SRCIMG.png").read_bytes() == png
  for key in ("k2", "k3"):
    with Image.open(place / f"{key}_SRCIMG.png") as picture:
      assert picture.format == "PNG"
      assert picture.tobytes() == Image.open(io.BytesIO(jpeg)).tobytes()
  before = (place / "k1_SRCIMG.png").stat().st_ino
  layout.finish(out, items)
  assert (place / "k1_SRCIMG.png").stat().st_ino == before


@pytest.mark.parametrize("data", [b"none", files.picture(10)[:50]])
def test_a_source_that_is_no_picture_is_named(
  tmp_path: pathlib.Path, data: bytes
):
  with pytest.raises(ValueError, match="ps_human/en/k1"):
    layout.finish(tmp_path, [_item("k1", data)])
