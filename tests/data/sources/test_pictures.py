"""Every kind of file becomes the RGB picture that a viewer shows."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures

HEIGHT, WIDTH = 6, 8


def gradient():
  """uint8 [H, W, 3], another value in every pixel."""
  return np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)


def encoded(image, form, **options):
  stream = io.BytesIO()
  image.save(stream, form, **options)
  return stream.getvalue()


def decode(data, box=None):
  result = pictures.decode(base.Picture(data, box))
  assert result.dtype == np.uint8 and result.shape[2] == 3
  assert result.flags.c_contiguous
  return result


def rejected(data, reason, box=None):
  with pytest.raises(pictures.PictureError) as error:
    decode(data, box)
  assert error.value.reason == reason
  return error.value.detail


@pytest.mark.parametrize(
  ("form", "options"),
  [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("PPM", {}),
  ],
)
def test_lossless_formats(form, options):
  data = encoded(Image.fromarray(gradient()), form, **options)
  np.testing.assert_array_equal(decode(data), gradient())


def test_jpeg():
  image = Image.new("RGB", (WIDTH, HEIGHT), (200, 40, 90))
  got = decode(encoded(image, "JPEG", quality=95)).astype(int)
  assert abs(got - (200, 40, 90)).max() <= 3


def test_first_picture_of_a_phones_double_jpeg():
  """MPO: a JPEG with further pictures after it."""
  image = Image.new("RGB", (WIDTH, HEIGHT), (200, 40, 90))
  other = Image.new("RGB", (WIDTH, HEIGHT))
  data = encoded(image, "MPO", save_all=True, append_images=[other])
  assert abs(decode(data).astype(int) - (200, 40, 90)).max() <= 6


def test_grey_and_one_bit():
  grey = gradient()[..., 0]
  data = encoded(Image.fromarray(grey), "PNG")
  np.testing.assert_array_equal(decode(data), np.stack([grey] * 3, -1))
  bits = Image.fromarray(((grey % 2) * 255).astype(np.uint8)).convert("1")
  got = decode(encoded(bits, "PNG"))
  np.testing.assert_array_equal(got[..., 0], grey % 2 * 255)


def test_sixteen_bits_are_scaled():
  values = np.array([[0, 128, 129, 257, 32768, 40000, 65535]], np.uint16)
  for form in ("PNG", "TIFF"):
    got = decode(encoded(Image.fromarray(values), form))
    np.testing.assert_array_equal(got[0, :, 0], [0, 0, 1, 1, 128, 156, 255])
    np.testing.assert_array_equal(got[..., 0], got[..., 2])
  big_endian = values.astype(">u2").tobytes()
  image = Image.frombytes("I;16B", values.shape[::-1], big_endian)
  got = decode(encoded(image, "TIFF"))
  np.testing.assert_array_equal(got[0, :, 0], [0, 0, 1, 1, 128, 156, 255])


def test_values_beyond_sixteen_bits_are_refused():
  values = np.array([[0, 70000]], np.int32)
  data = encoded(Image.fromarray(values), "TIFF")
  assert "70000" in rejected(data, "unknown picture mode")
  floats = Image.fromarray(np.array([[0.0, 70000.0]], np.float32))
  rejected(encoded(floats, "TIFF"), "unknown picture mode")


def test_alpha_is_put_over_white():
  rgba = np.zeros((1, 3, 4), np.uint8)
  rgba[0] = [(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 128)]
  expected = [(10, 20, 30), (255, 255, 255), (127, 127, 127)]
  for form in ("PNG", "WEBP"):
    data = encoded(Image.fromarray(rgba), form, lossless=True, exact=True)
    np.testing.assert_array_equal(decode(data)[0], expected)
  la = np.array([[(10, 255), (10, 0), (0, 128)]], np.uint8)
  got = decode(encoded(Image.fromarray(la, "LA"), "PNG"))
  np.testing.assert_array_equal(got[0, :, 0], [10, 255, 127])


def test_palettes_with_and_without_a_transparent_colour():
  image = Image.new("P", (2, 1))
  image.putpalette([255, 0, 0, 0, 0, 255])
  image.putpixel((1, 0), 1)
  for form in ("PNG", "GIF"):
    got = decode(encoded(image, form))
    np.testing.assert_array_equal(got[0], [(255, 0, 0), (0, 0, 255)])
    got = decode(encoded(image, form, transparency=1))
    np.testing.assert_array_equal(got[0], [(255, 0, 0), (255, 255, 255)])


def test_colour_key_of_an_rgb_png():
  image = Image.new("RGB", (2, 1), (1, 2, 3))
  image.putpixel((1, 0), (9, 9, 9))
  got = decode(encoded(image, "PNG", transparency=(1, 2, 3)))
  np.testing.assert_array_equal(got[0], [(255, 255, 255), (9, 9, 9)])


def test_cmyk_jpeg():
  image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
  got = decode(encoded(image, "JPEG", quality=95)).astype(int)
  assert abs(got - (0, 255, 255)).max() <= 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(form):
  frames = [Image.new("RGB", (4, 4), (shade,) * 3) for shade in (0, 128, 255)]
  data = encoded(
    frames[0],
    form,
    save_all=True,
    append_images=frames[1:],
    **({"lossless": True} if form == "WEBP" else {}),
  )
  assert decode(data).max() == 0


# What a viewer does to the stored pixels for each EXIF orientation.
TURNS = {
  1: lambda a: a,
  2: lambda a: a[:, ::-1],
  3: lambda a: a[::-1, ::-1],
  4: lambda a: a[::-1],
  5: lambda a: a.swapaxes(0, 1),
  6: lambda a: np.rot90(a, -1),
  7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
  8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
  expected = TURNS[orientation](gradient())
  np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize(
  "exif",
  [
    b"Exif\0\0",
    b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    b"Exif\0\0II*\0" + b"\xff" * 9,
  ],
)
def test_corrupt_exif_is_tolerated(exif):
  for form, options in (("PNG", {}), ("WEBP", {"lossless": True})):
    data = encoded(Image.fromarray(gradient()), form, exif=exif, **options)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Pillow's, about the EXIF data
      np.testing.assert_array_equal(decode(data), gradient())


def test_an_unwritable_tag_does_not_stop_the_rotation(monkeypatch):
  exif = Image.Exif()
  exif[0x0112] = 6
  data = encoded(Image.fromarray(gradient()), "PNG", exif=exif)

  def fail(self, offset=8):
    raise ValueError("a tag that cannot be written")

  monkeypatch.setattr(Image.Exif, "tobytes", fail)
  np.testing.assert_array_equal(decode(data), np.rot90(gradient(), -1))


def test_box_is_cut_after_the_rotation():
  exif = Image.Exif()
  exif[0x0112] = 6
  data = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
  turned = np.rot90(gradient(), -1)
  got = decode(data, box=(1, 2, 4, 7))
  np.testing.assert_array_equal(got, turned[2:7, 1:4])
  np.testing.assert_array_equal(decode(data, (0, 0, 6, 8)), turned)
  for box in ((0, 0, 7, 8), (-1, 0, 2, 2), (3, 0, 3, 2), (0, 5, 2, 4)):
    assert "6 x 8" in rejected(data, "box outside", box)


def noise(side=64):
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))


@pytest.mark.parametrize(
  ("form", "reason"),
  [
    ("JPEG", "truncated picture"),
    ("PNG", "truncated picture"),
    ("GIF", "truncated picture"),
    ("BMP", "truncated picture"),
  ],
)
def test_truncated(form, reason):
  data = encoded(noise(), form)
  rejected(data[: len(data) // 2], reason)


def test_jpeg_truncated_anywhere():
  data = encoded(noise(), "JPEG")
  start_of_scan = data.index(b"\xff\xda") + 20
  for size in range(start_of_scan, len(data) - 2, 37):
    rejected(data[:size], "truncated picture")
  for size in range(2, start_of_scan, 7):  # Pillow does not tell them apart
    with pytest.raises(pictures.PictureError):
      decode(data[:size])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_any_damage_is_a_picture_error(form):
  """Cut anywhere or overwritten: a picture or `PictureError`, no other."""
  data = encoded(noise(24), form)
  rng = np.random.default_rng(1)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for position in rng.integers(1, len(data), 60):
      damaged = bytearray(data)
      damaged[position : position + 4] = rng.bytes(4)
      for trial in (data[:position], bytes(damaged)):
        try:
          decode(trial)
        except pictures.PictureError as e:
          assert e.reason in (
            "truncated picture",
            "damaged picture",
            "unknown picture format",
            "unknown picture mode",
            "too large",
          )


@pytest.mark.parametrize(
  "data", [b"", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_unknown_formats(data):
  assert str(len(data)) in rejected(data, "unknown picture format")


@pytest.mark.parametrize("form", ["EPS", "PCX"])
def test_formats_that_no_data_set_holds_are_not_tried(form):
  data = encoded(Image.fromarray(gradient()), form)
  rejected(data, "unknown picture format")


def test_too_large(monkeypatch):
  data = encoded(Image.fromarray(gradient()), "PNG")
  monkeypatch.setattr(pictures, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
  assert "8 x 6" in rejected(data, "too large")
  monkeypatch.setattr(pictures, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH)
  decode(data)
  # Pillow's own limit, for what it checks while opening.
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
  rejected(data, "too large")


def test_error_says_reason_and_detail():
  assert str(pictures.PictureError("too large", "9 x 9")) == "too large: 9 x 9"
