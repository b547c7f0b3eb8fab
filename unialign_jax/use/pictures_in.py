"""Pictures from a caller, in any form, to squares that the VAE reads."""

import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageOps

from unialign_jax.data.sources import base
from unialign_jax.data.sources import framing
from unialign_jax.data.sources import pictures
from unialign_jax.features import encoders

Picture = Image.Image | np.ndarray | bytes | str | os.PathLike
# What PNG does not hold; Pillow's own conversion is what viewers show.
_NOT_IN_PNG = ("CMYK", "YCbCr", "LAB", "HSV")


def square(picture: Picture, side: int, policy: str) -> np.ndarray:
  """The picture as it is meant to be seen, uint8 [side, side, 3].

  Args:
    picture: Pillow's, uint8 [H, W, 3], the bytes of a file, or a path.
    side: in pixels.
    policy: of `framing.frame`: "crop", "pad" or "squash".

  Raises:
    ValueError: nothing of the kind, a file that cannot be read, a damaged or
      too large picture (`pictures.PictureError`), or an unknown policy.
  """
  (framed,) = framing.frame([pixels(picture)], side, policy)
  return framed


def latents(
  image_encoder: encoders.ImageEncoder,
  rows: Sequence[Sequence[Picture]],
  side: int,
  policy: str,
) -> np.ndarray | None:
  """Clean scaled latents [B, N, H, W, C] of B rows of N pictures each.

  None where the rows have no pictures.

  Raises:
    ValueError: as `square`.
  """
  flat = [square(picture, side, policy) for row in rows for picture in row]
  if not flat:
    return None
  mean_BHWC, _ = image_encoder.encode(np.stack(flat))
  return mean_BHWC.reshape(len(rows), -1, *mean_BHWC.shape[1:])


def pixels(picture: Picture) -> np.ndarray:
  """The picture as it is meant to be seen, uint8 [H, W, 3].

  Raises:
    ValueError: as `square`, but for the policy.
  """
  if isinstance(picture, np.ndarray):
    if picture.dtype != np.uint8 or picture.shape[2:] != (3,):
      raise ValueError(
        f"picture: got {picture.dtype} {picture.shape}, expected uint8"
        " [H, W, 3]."
      )
    return picture
  return pictures.decode(base.Picture(_encoded(picture)))


def _encoded(picture: Picture) -> bytes:
  if isinstance(picture, bytes):
    return picture
  if isinstance(picture, Image.Image):
    return _png(picture)
  if isinstance(picture, str | os.PathLike):
    try:
      return pathlib.Path(picture).read_bytes()
    except OSError as error:
      raise ValueError(
        f"picture: cannot read {os.fspath(picture)}: {error.strerror}."
      ) from error
  raise ValueError(
    f"picture: got {type(picture).__name__}, expected a Pillow image, uint8"
    " [H, W, 3], the bytes of a file or a path."
  )


def _png(image: Image.Image) -> bytes:
  """Through a file, so that each mode is read by the one reader of pictures."""
  image = ImageOps.exif_transpose(image)
  if image.mode in _NOT_IN_PNG:
    image = image.convert("RGB")
  file = io.BytesIO()
  try:
    image.save(file, "PNG", compress_level=0)
  except OSError as error:
    raise pictures.PictureError("unknown picture mode", str(error)) from error
  return file.getvalue()
