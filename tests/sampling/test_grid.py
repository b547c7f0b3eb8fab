"""The grid: every picture whole, every caption readable above it."""

import numpy as np
import pytest

from unialign_jax.sampling import grid


def _find(canvas, color):
  """Top, bottom, left and right of the one area in a color."""
  rows, columns = np.nonzero((canvas == color).all(-1))
  return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_pictures_lie_whole_under_captions_that_they_do_not_touch():
  colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
  pictures = [np.full((40, 40, 3), color, np.uint8) for color in colors]
  long = "a caption of so many words that it takes five lines at least"
  captions = [long, "short", long]
  cells = [grid.Cell(*pair) for pair in zip(captions, zip(pictures))]
  canvas = grid.draw([cells[:2], cells[2:]], scale=2)
  above = 0
  for cell, color in zip(cells, colors):
    top, bottom, left, right = _find(canvas, color)
    assert (bottom - top, right - left) == (80, 80)
    assert (canvas[top:bottom, left:right] == color).all()
    text = canvas[above:top, left:right]
    is_ink = (text < 128).any((1, 2))
    assert is_ink.any() and not is_ink[-3:].any(), cell.caption
    above = bottom if color == colors[1] else above


def test_pictures_of_a_cell_stand_side_by_side():
  pictures = [np.full((8, 8, 3), level, np.uint8) for level in (10, 20)]
  canvas = grid.draw([[grid.Cell("", pictures)]], scale=1)
  first, second = (_find(canvas, (level,) * 3) for level in (10, 20))
  assert first[:2] == second[:2] and second[2] == first[3] + 2


def test_nothing_to_draw_is_refused():
  with pytest.raises(ValueError, match="no cell"):
    grid.draw([])
  with pytest.raises(ValueError, match="without picture"):
    grid.draw([[grid.Cell("a", [])]])
