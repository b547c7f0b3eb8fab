"""GEdit-Bench's folder: a picture a key, and beside it what was edited."""

import io
import pathlib
from collections.abc import Sequence

from etils import epath
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.evals import benchmark
from unialign_jax.evals.gedit import dataset
from unialign_jax.features import files

_PNG = b"\x89PNG\r\n\x1a\n"


def edited(item: dataset.Item) -> str:
  """Path of the result, relative to the folder of results."""
  return f"fullset/{item.name}.png"


def source(item: dataset.Item) -> str:
  """Path of what was edited, likewise."""
  return f"fullset/{item.name}_SRCIMG.png"


def wanted(items: Sequence[dataset.Item], seed: int) -> list[benchmark.Wanted]:
  """The results.

  Sources are squashed to the model's square: the scorer stretches a result to
  the source's size, which undoes it.
  """
  return [
    benchmark.Wanted(
      path=edited(item),
      text=item.instruction,
      images=(item.picture,),
      seed=seed,
      group=item.task,
      framing="squash",
    )
    for item in items
  ]


def finish(out: pathlib.Path, items: Sequence[dataset.Item]) -> None:
  """Writes what was edited where it is not there yet.

  Raises:
    ValueError: a source that is no picture.
  """
  for item in items:
    place = out / source(item)
    if not place.exists():
      files.write(epath.Path(place), _png(item))


def _png(item: dataset.Item) -> bytes:
  """The source as PNG, as it is where it is one."""
  data = item.picture
  if isinstance(data, pathlib.Path):
    data = data.read_bytes()
  try:
    pixels = pictures.decode(base.Picture(data))
  except pictures.PictureError as error:
    raise ValueError(
      f"{item.name}: its source is no picture ({error}); get the data again"
    ) from error
  if data.startswith(_PNG):
    return data
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()
