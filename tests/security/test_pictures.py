"""Pictures made to hurt: refused at little cost, or decoded at a known one."""

import contextlib
import time

import numpy as np
import pytest
from PIL import Image

from tests.security import hostile_pictures
from tests.security import limited
from unialign_jax.data.sources import base
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import registry
from unialign_jax.use import pictures_in

MB = 10**6


def refused(data: bytes) -> pictures.PictureError:
  with pytest.raises(pictures.PictureError) as caught:
    pictures.decode(base.Picture(data))
  return caught.value


def seconds(data: bytes) -> float:
  begin = time.process_time()
  with contextlib.suppress(pictures.PictureError):
    pictures.decode(base.Picture(data))
  return time.process_time() - begin


@pytest.mark.parametrize("form", hostile_pictures.TOO_LARGE)
def test_a_header_that_claims_too_much_is_refused_by_every_reader(form):
  data = hostile_pictures.TOO_LARGE[form]
  assert refused(data).reason == "too large"
  assert picture_size.read(base.Picture(data)) is None
  with pytest.raises(pictures.PictureError, match="too large"):
    pictures_in.square(data, 16, "crop")


def test_a_frame_larger_than_its_screen_counts():
  data = hostile_pictures.gif_frame_larger_than_its_screen()
  assert refused(data).reason == "too large"


_ATTEMPT = """
from PIL import Image
from tests.security import hostile_pictures as hostile
from unialign_jax.data.sources import base, pictures
def attempt(data):
  try:
    pictures.decode(base.Picture(data))
  except pictures.PictureError:
    pass
for form in pictures.FORMATS:
  attempt(hostile.encoded(Image.new("RGB", (9, 9)), form))
attempt(hostile.tiff({}))
"""
_BOMBS = """
bombs = [*hostile.TOO_LARGE.values(), *hostile.png_bombs().values()]
# limited
for data in bombs:
  attempt(data)
"""


def test_bombs_cost_no_memory():
  assert limited.run(_ATTEMPT + _BOMBS, extra_bytes=1 << 31) < 150 * MB


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "many texts"])
def test_compressed_chunks_are_bounded(kind):
  data = hostile_pictures.png_bombs()[kind]
  assert len(data) < 2 * MB
  assert seconds(data) < 2
  assert refused(data).reason == "damaged picture"


def test_a_jpeg_goes_over_its_pixels_so_often_and_no_more():
  ordinary = hostile_pictures.scans(1, (256, 256))
  assert pictures.decode(base.Picture(ordinary)).shape == (256, 256, 3)
  data = hostile_pictures.scans(400, (4096, 4096))
  assert len(data) < MB
  error = refused(data)
  assert error.reason == "too large" and "scans" in error.detail
  # A small picture may have as many as it likes.
  assert seconds(hostile_pictures.scans(400, (64, 64))) < 2


def test_the_run_lengths_of_a_bmp_are_not_followed():
  data = hostile_pictures.run_lengths(2**20, 32)
  assert len(data) < 2000
  assert seconds(data) < 1
  error = refused(data)
  assert (error.reason, error.detail) == (
    "unknown picture format",
    "BMP with run lengths",
  )


@pytest.mark.parametrize(
  "tags",
  [
    {322: (4, 65_520), 323: (4, 65_520), 324: (4, 8), 325: (4, 64)},
    {278: (4, 2**32 - 1), 279: (4, 2**31)},
    {277: (3, 65_535)},
    {258: (3, 65_535)},
    {273: (4, 2**32 - 1)},
    {259: (3, 8)},
    {259: (3, 7)},
    {259: (3, 50_000)},
  ],
  ids=["tile", "strip", "samples", "bits", "place", "zip", "jpeg", "zstd"],
)
def test_a_tiff_that_lies_about_its_parts(tags):
  for compression in (1, 5, 8):
    data = hostile_pictures.tiff({259: (3, compression)} | tags)
    assert seconds(data) < 1


_TILES = """
# limited
for compression in (1, 5, 8):
  attempt(hostile.tiff({
    259: (3, compression),
    322: (4, 65520), 323: (4, 65520), 324: (4, 8), 325: (4, 64),
  }))
"""


def test_a_tile_that_is_larger_than_the_picture_costs_no_memory():
  assert limited.run(_ATTEMPT + _TILES, extra_bytes=1 << 33) < 200 * MB


def test_frames_beyond_the_first_cost_nothing():
  frames = [Image.new("P", (64, 64), n % 256) for n in range(2000)]
  data = hostile_pictures.encoded(
    frames[0], "GIF", save_all=True, append_images=frames[1:]
  )
  assert seconds(data) < 1


@pytest.mark.parametrize("kind", hostile_pictures.DISGUISED)
def test_what_only_is_called_a_picture_is_no_picture(kind, tmp_path):
  data = hostile_pictures.DISGUISED[kind]
  assert refused(data).reason == "unknown picture format"
  assert picture_size.read(base.Picture(data)) is None
  path = tmp_path / "fake.png"
  path.write_bytes(data)
  with pytest.raises(pictures.PictureError, match="unknown picture format"):
    pictures_in.square(path, 16, "crop")
  (tmp_path / "fake.txt").write_text("a caption")
  item = decoded.Decoded(registry.open_source("folder", tmp_path), side=8)[0]
  assert isinstance(item, base.Rejected)
  assert item.reason == "unknown picture format"


def test_no_decoder_of_another_format_is_asked(monkeypatch):
  """Ghostscript is started by a decoder: none may even look at a file."""
  Image.init()
  asked = []
  for name, (factory, _) in dict(Image.OPEN).items():
    if name not in pictures.FORMATS:
      monkeypatch.setitem(
        Image.OPEN,
        name,
        (factory, lambda prefix, name=name: asked.append(name) or True),
      )
  for data in hostile_pictures.DISGUISED.values():
    refused(data)
    picture_size.read(base.Picture(data))
    with pytest.raises(pictures.PictureError):
      pictures_in.square(data, 16, "crop")
  assert not asked and "EPS" not in pictures.FORMATS


_LARGEST = """
side = 8192
assert side * side == pictures.MAX_IMAGE_PIXELS
data = hostile.png(hostile.chunk(b"tRNS", b"\\0\\7"), size=(side, side))
# limited
assert pictures.decode(base.Picture(data)).shape == (side, side, 3)
"""


def test_the_largest_picture_costs_little_more_than_its_pixels():
  """Grey with a clear colour: 200 MB as RGB, and 70 MB as it is decoded."""
  assert limited.run(_ATTEMPT + _LARGEST, extra_bytes=1 << 31) < 330 * MB


def test_strips_give_what_the_whole_gives(monkeypatch):
  rng = np.random.default_rng(0)
  rgba = Image.fromarray(rng.integers(0, 256, (50, 40, 4), np.uint8))
  deep = Image.fromarray(rng.integers(0, 65536, (50, 40), np.uint16))
  palette = rgba.convert("RGB").convert("P")
  files = [
    hostile_pictures.encoded(rgba, "PNG"),
    hostile_pictures.encoded(deep, "PNG"),
    hostile_pictures.encoded(palette, "PNG", transparency=3),
    hostile_pictures.encoded(rgba.convert("CMYK"), "JPEG"),
    hostile_pictures.encoded(rgba.convert("1"), "TIFF"),
  ]
  whole = [pictures.decode(base.Picture(data)) for data in files]
  for pixels in (1, 39, 40, 130):
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", pixels)
    for data, expected in zip(files, whole):
      got = pictures.decode(base.Picture(data))
      np.testing.assert_array_equal(got, expected)
