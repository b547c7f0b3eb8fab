"""Encoded pictures to RGB arrays, whatever the file was."""

import contextlib
import io

import numpy as np
from PIL import Image
from PIL import ImageOps

from unialign_jax.data.sources import base

# What data sets hold. Of the rest, some decoders start other programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
# 8192 x 8192: beyond every data set, and 200 MB as RGB.
MAX_IMAGE_PIXELS = 2**26
# A JPEG may go over its pixels any number of times, at 20 bytes a time;
# encoders do so 10 times or less.
_MAX_SCANNED = 2**31
_START_OF_SCAN = b"\xff\xda"
_STRIP_PIXELS = 2**20  # converted at a time: whole copies would add up


class PictureError(ValueError):
  """A picture that cannot be used.

  Attributes:
    reason: Short and without particulars, so that reasons can be counted.
    detail: The particulars.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason}: {self.detail}" if self.detail else self.reason


def decode(picture: base.Picture, max_pixels: int | None = None) -> np.ndarray:
  """The picture as it is meant to be seen.

  Turned as its EXIF data says, alpha over white, 16 bits scaled to 8, the
  first frame of several, then cropped to its box.

  Args:
    picture: The format is told from the bytes, never from a name.
    max_pixels: More are refused before they are decoded; None for
      `MAX_IMAGE_PIXELS`.

  Returns:
    uint8 [H, W, 3].

  Raises:
    PictureError: "unknown picture format", "too large", "truncated picture",
      "damaged picture", "unknown picture mode" or "box outside".
  """
  with open_header(picture.data, max_pixels) as image:
    _check_work(image, picture.data)
    _load(image)
    _turn(image)
    pixels = _rgb(image)
  return pixels if picture.box is None else _crop(pixels, picture.box)


def open_header(data: bytes, max_pixels: int | None = None) -> Image.Image:
  """A picture of which only the header was read.

  Raises:
    PictureError: "unknown picture format", "too large", "truncated picture"
      or "damaged picture".
  """
  limit = MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
    raise PictureError("too large", str(e)) from e
  except Image.UnidentifiedImageError:
    raise PictureError(
      "unknown picture format", f"{len(data)} bytes, the first are {data[:8]!r}"
    ) from None
  except Exception as e:  # Pillow raises nearly anything on damaged files
    raise _damaged(e) from e
  if image.width * image.height > limit:
    raise PictureError(
      "too large",
      f"{image.width} x {image.height} pixels, expected at most {limit}",
    )
  return image


def _check_work(image: Image.Image, data: bytes) -> None:
  """Refuses what is small to store and long to decode."""
  if any(tile[0] == "bmp_rle" for tile in image.tile):
    # Four bytes skip 255 lines, each of any length, in interpreted code.
    raise PictureError("unknown picture format", "BMP with run lengths")
  if image.format in ("JPEG", "MPO"):
    scans = data.count(_START_OF_SCAN)
    if scans * image.width * image.height > _MAX_SCANNED:
      raise PictureError(
        "too large",
        f"{scans} scans of {image.width} x {image.height} pixels, expected at"
        f" most {_MAX_SCANNED} pixels in all",
      )


def _load(image: Image.Image) -> None:
  """Decodes the first frame."""
  try:
    image.load()
  except MemoryError:
    raise
  except Exception as e:  # Pillow raises nearly anything on damaged files
    raise _damaged(e) from e


def _damaged(error: Exception) -> PictureError:
  is_truncated = "truncated" in str(error).lower()
  reason = "truncated picture" if is_truncated else "damaged picture"
  return PictureError(reason, repr(error))


def _turn(image: Image.Image) -> None:
  """Applies the EXIF rotation in place."""
  # Damaged EXIF data: the pixels are good, and are already turned where the
  # orientation could be read.
  with contextlib.suppress(Exception):
    ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> np.ndarray:
  pixels = np.empty((image.height, image.width, 3), np.uint8)
  rows = max(1, _STRIP_PIXELS // image.width)
  for top in range(0, image.height, rows):
    bottom = min(top + rows, image.height)
    strip = image.crop((0, top, image.width, bottom))
    pixels[top:bottom] = _rgb_of_strip(strip)
  return pixels


def _rgb_of_strip(image: Image.Image) -> np.ndarray:
  if image.mode in _SIXTEEN_BIT:
    grey = _eight_bits(np.asarray(image))
    return np.repeat(grey[..., None], 3, axis=-1)
  if image.mode == "F":  # Pillow would clip it
    raise PictureError("unknown picture mode", "floating point")
  try:
    if image.has_transparency_data:
      image = image.convert("RGBA")
      white = Image.new("RGBA", image.size, "white")
      image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
  except ValueError as e:
    raise PictureError("unknown picture mode", f"{image.mode}: {e}") from e


def _eight_bits(values: np.ndarray) -> np.ndarray:
  values = values.astype(np.int64)
  if values.min() < 0 or values.max() > 65535:
    raise PictureError(
      "unknown picture mode",
      f"values from {values.min()} to {values.max()}, expected 16 bits",
    )
  return ((values + 128) // 257).astype(np.uint8)  # to the nearest of v / 257


def _crop(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
  left, top, right, bottom = box
  height, width, _ = pixels.shape
  if not (0 <= left < right <= width and 0 <= top < bottom <= height):
    raise PictureError(
      "box outside", f"box {box} of a picture of {width} x {height} pixels"
    )
  return np.ascontiguousarray(pixels[top:bottom, left:right])
