"""The folder of results, as the authors' scorer reads it."""

import pathlib

from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.semgen import dataset

SIDE = 512  # pixels of a source; also of a picture, where a model makes that


def picture(group: dataset.Group, key: int) -> str:
  """Path of a picture below the folder."""
  return f"fullset/{group.field}/{key}.png"


def source(group: dataset.Group, key: int) -> str:
  """Path of what was edited."""
  return f"fullset/{group.field}/{key}_SRCIMG.png"


def squashed(photograph: pathlib.Path) -> Image.Image:
  """A photograph as the authors give it to a model: square, aspect lost.

  Raises:
    ValueError: it cannot be decoded.
  """
  try:
    pixels = pictures.decode(base.Picture(photograph.read_bytes()))
  except pictures.PictureError as error:
    raise ValueError(f"{photograph}: {error}") from error
  return Image.fromarray(pixels).resize((SIDE, SIDE))


def read(path: pathlib.Path) -> Image.Image:
  """A picture of the folder, RGB."""
  with Image.open(path, formats=picture_files.FORMATS) as image:
    return image.convert("RGB")
