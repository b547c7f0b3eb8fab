"""Pictures that come with a request, in full; nothing else is ever read."""

import base64
import binascii
import re
from typing import Any

import numpy as np

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.serving import errors

_DATA_URI = re.compile(r"data:image/[\w.+-]+((?:;[\w.+-]+=[\w.+-]+)*);base64,")
_CODE = "invalid_image"


def from_url(url: Any, max_pixels: int) -> np.ndarray:
  """The picture in a data URI, uint8 [H, W, 3].

  Addresses are not followed: whoever may ask this server could otherwise have
  it ask others, or read its files.

  Args:
    url: as a client sent it.
    max_pixels: of the picture; more are refused before they are decoded.

  Raises:
    ApiError: no data URI, or what is in it is no picture.
  """
  if not isinstance(url, str):
    raise errors.bad(
      f"image_url: got {type(url).__name__}, expected a data URI.",
      param="messages",
      code=_CODE,
    )
  found = _DATA_URI.match(url)
  if not found:
    raise errors.bad(
      f"image_url: got {url[:40]!r}, expected a data URI of a picture,"
      " data:image/png;base64,...; this server fetches no address, send the"
      " picture itself.",
      param="messages",
      code=_CODE,
    )
  try:
    data = base64.b64decode(url[found.end() :], validate=True)
  except (binascii.Error, ValueError) as error:
    raise errors.bad(
      f"image_url: got no base64 after the comma ({error}).",
      param="messages",
      code=_CODE,
    ) from None
  return from_bytes(data, max_pixels, "messages")


def from_bytes(data: bytes, max_pixels: int, param: str) -> np.ndarray:
  """The picture in a file's bytes, uint8 [H, W, 3].

  Args:
    data: of the file; its format is told by them.
    max_pixels: see `from_url`.
    param: the field that it came in.

  Raises:
    ApiError: no picture, a damaged or a too large one.
  """
  try:
    return picture_files.decode(base.Picture(data), max_pixels)
  except picture_files.PictureError as error:
    raise errors.bad(f"image: {error}.", param=param, code=_CODE) from None
