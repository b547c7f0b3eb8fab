"""DPG-Bench's folder: one picture a prompt, its samples in quarters of it.

The official scorer takes every file of the folder for a picture, so the
samples lie in another one: `samples/{item}/{number}.png`, from which `finish`
makes `grids/{item}.png`.
"""

import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

from etils import epath
from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals import benchmark
from unialign_jax.features import files

GRIDS = "grids"
MOST = 4  # samples that a grid has room for


def sample(item: str, number: int) -> str:
  """Path of a sample, relative to the folder of results."""
  return f"samples/{item}/{number}.png"


def grid(item: str) -> str:
  """Path of what the scorer reads, likewise."""
  return f"{GRIDS}/{item}.png"


def wanted(
  found: Mapping[str, str], samples: int, seed: int
) -> list[benchmark.Wanted]:
  """The samples of each prompt; sample k of every prompt has seed + k."""
  return [
    benchmark.Wanted(
      path=sample(item, number),
      text=text,
      seed=seed + number,
      group="Overall",
    )
    for item, text in found.items()
    for number in range(samples)
  ]


def finish(out: pathlib.Path, items: Iterable[str], samples: int) -> None:
  """Writes the grids of which all samples are there, and not again.

  Raises:
    ValueError: samples of an item that are not all squares of one size.
  """
  for item in items:
    paths = [out / sample(item, number) for number in range(samples)]
    if not all(path.exists() for path in paths):
      continue
    place = out / grid(item)
    newest = max(path.stat().st_mtime_ns for path in paths)
    if place.exists() and place.stat().st_mtime_ns >= newest:
      continue
    canvas = _assembled(
      item, [Image.open(path, formats=picture_files.FORMATS) for path in paths]
    )
    with files.written(epath.Path(place)) as name:
      canvas.save(name, "PNG")


def find(
  out: pathlib.Path, items: Iterable[str], samples: int
) -> dict[tuple[str, int], pathlib.Path]:
  """The files that samples are in, of those that are there.

  A grid, with whatever ending, has all samples of its item.
  """
  grids = {
    path.name.split(".")[0]: path for path in sorted((out / GRIDS).glob("*.*"))
  }
  found = {}
  for item in items:
    for number in range(samples):
      own = out / sample(item, number)
      path = own if own.exists() else grids.get(item)
      if path is not None:
        found[item, number] = path
  return found


def crop(
  out: pathlib.Path, path: pathlib.Path, number: int, samples: int
) -> Image.Image:
  """A sample, which is the whole of its own file or a part of the grid.

  Args:
    out: the folder of results.
    path: of `find`.
    number: of the sample.
    samples: of each prompt.

  Raises:
    ValueError: the file is no picture.
  """
  try:
    picture = Image.open(path, formats=picture_files.FORMATS).convert("RGB")
  except OSError as error:
    raise ValueError(
      f"{path}: got no picture ({error}); remove it and make it again"
    ) from error
  if path.parent != out / GRIDS or samples == 1:
    return picture
  return picture.crop(_box(number, picture.width // 2))


def _assembled(item: str, pictures: list[Image.Image]) -> Image.Image:
  sizes = {picture.size for picture in pictures}
  (width, height), *others = sorted(sizes)
  if others or width != height:
    raise ValueError(
      f"{item}: got samples of {sorted(sizes)} pixels, expected squares of one"
      " size: the scorer cuts squares out of the grid. Make them anew with one"
      " size."
    )
  across, down = (min(len(pictures), 2), 2 if len(pictures) > 2 else 1)
  canvas = Image.new("RGB", (across * width, down * width))
  for number, picture in enumerate(pictures):
    canvas.paste(picture.convert("RGB"), _box(number, width)[:2])
  return canvas


def _box(number: int, side: int) -> tuple[int, int, int, int]:
  """The quarter of a sample: by rows, from the top left."""
  left, top = number % 2 * side, number // 2 * side
  return left, top, left + side, top + side
