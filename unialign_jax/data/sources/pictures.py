"""Encoded pictures to RGB arrays, whatever the file was."""

import contextlib
import io

import numpy as np
from PIL import Image
from PIL import ImageOps

from unialign_jax.data.sources import base

# What data sets hold. Of the rest, some decoders start other programs (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
# 8192 x 8192: beyond every data set, and 200 MB as RGB.
MAX_IMAGE_PIXELS = 2**26


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
  limit = MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
  with _open(picture.data, limit) as image:
    _load(image)
    _turn(image)
    pixels = _rgb(image)
  return pixels if picture.box is None else _crop(pixels, picture.box)


def _open(data: bytes, max_pixels: int) -> Image.Image:
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
    raise PictureError("too large", str(e)) from e
  except Image.UnidentifiedImageError:
    raise PictureError(
      "unknown picture format", f"{len(data)} bytes, the first are {data[:8]!r}"
    ) from None
  except Exception as e:  # Pillow raises nearly anything on damaged files
    raise _damaged(e) from e
  if image.width * image.height > max_pixels:
    raise PictureError(
      "too large",
      f"{image.width} x {image.height} pixels, expected at most {max_pixels}",
    )
  return image


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
