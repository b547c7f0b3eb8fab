"""GenEval's folder: a numbered one a prompt, with its line and its samples."""

import json
import pathlib
from collections.abc import Sequence

from etils import epath
from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals import benchmark
from unialign_jax.evals.geneval import prompts
from unialign_jax.features import files


def folder(index: int) -> str:
  """Of prompt `index`; the scorer takes folders whose names are all digits."""
  return f"{index:05d}"


def sample(index: int, number: int) -> str:
  """Path of a prompt's sample, relative to the folder of results."""
  return f"{folder(index)}/samples/{number:05d}.png"


def wanted(
  found: Sequence[prompts.Prompt], samples: int, seed: int
) -> list[benchmark.Wanted]:
  """The samples of each prompt; sample k of every prompt has seed + k.

  The official generator sets one seed anew before each prompt and draws the
  samples in turn: the same noise for sample k of all prompts, as here.
  """
  return [
    benchmark.Wanted(
      path=sample(prompt.index, number),
      text=prompt.text,
      seed=seed + number,
      group=prompt.tag,
    )
    for prompt in found
    for number in range(samples)
  ]


def finish(
  out: pathlib.Path,
  found: Sequence[prompts.Prompt],
  samples: int,
  grid: bool,
) -> None:
  """Writes each prompt's line; its samples side by side where all are there.

  Args:
    out: the folder of results.
    found: the prompts.
    samples: of each.
    grid: whether grid.png is wanted; the scorer does not read it.
  """
  for prompt in found:
    place = epath.Path(out / folder(prompt.index))
    line = json.dumps(dict(prompt.metadata)).encode()
    files.write(place / "metadata.jsonl", line)
    paths = [out / sample(prompt.index, n) for n in range(samples)]
    if grid and all(path.exists() for path in paths):
      with files.written(place / "grid.png") as name:
        _side_by_side(paths).save(name, "PNG")


def _side_by_side(paths: Sequence[pathlib.Path]) -> Image.Image:
  pictures = [
    Image.open(path, formats=picture_files.FORMATS).convert("RGB")
    for path in paths
  ]
  width = sum(picture.width for picture in pictures)
  canvas = Image.new("RGB", (width, max(p.height for p in pictures)))
  left = 0
  for picture in pictures:
    canvas.paste(picture, (left, 0))
    left += picture.width
  return canvas
