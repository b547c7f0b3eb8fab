"""Pictures with their prompts above them, as one PNG-ready array."""

import dataclasses
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

_MARGIN = 6
_LINE_HEIGHT = 14
_CHARACTER_WIDTH = 6


@dataclasses.dataclass(frozen=True)
class Cell:
  """One example: its text, and its pictures side by side."""

  caption: str
  pictures: Sequence[np.ndarray]  # uint8 [H, W, 3], all of one size


def draw(rows: Sequence[Sequence[Cell]], scale: int = 2) -> np.ndarray:
  """Lays the cells out in rows on white; uint8 [H, W, 3].

  Args:
    rows: of cells; every cell gets the room of the largest.
    scale: enlargement of the pictures, pixel by pixel.

  Raises:
    ValueError: where there is nothing to draw.
  """
  cells = [cell for row in rows for cell in row]
  if not cells or not all(len(cell.pictures) for cell in cells):
    raise ValueError("grid: got no cell or a cell without picture.")
  width = max(_strip(cell, scale).width for cell in cells)
  columns = max(width // _CHARACTER_WIDTH, 8)
  texts = [[textwrap.wrap(c.caption, columns) for c in row] for row in rows]
  heads = [max(map(len, row)) * _LINE_HEIGHT + _MARGIN for row in texts]
  picture = max(_strip(cell, scale).height for cell in cells)
  tops = [_MARGIN]
  for head in heads:
    tops.append(tops[-1] + head + picture + _MARGIN)

  step_x = width + _MARGIN
  size = (max(map(len, rows)) * step_x + _MARGIN, tops[-1])
  canvas = Image.new("RGB", size, "white")
  pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=10)
  for row, top, head, captions in zip(rows, tops, heads, texts):
    for j, cell in enumerate(row):
      x = _MARGIN + j * step_x
      pen.text((x, top), "\n".join(captions[j]), fill="black", font=font)
      canvas.paste(_strip(cell, scale), (x, top + head))
  return np.asarray(canvas)


def _strip(cell: Cell, scale: int) -> Image.Image:
  """The pictures of a cell side by side, a white column between."""
  gap = np.full((cell.pictures[0].shape[0], 2, 3), 255, np.uint8)
  parts = [part for picture in cell.pictures for part in (gap, picture)][1:]
  image = Image.fromarray(np.concatenate(parts, axis=1))
  return image.resize(
    (image.width * scale, image.height * scale), Image.Resampling.NEAREST
  )
