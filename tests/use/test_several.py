"""Several pictures for a network that reads one."""

import numpy as np
import pytest

from unialign_jax.use import several


def _grey(shade: int, height: int = 10, width: int = 10) -> np.ndarray:
  return np.full((height, width, 3), shade, np.uint8)


def test_one_picture_is_framed_as_always():
  left, right = _grey(0, 10, 10), _grey(200, 10, 10)
  wide = np.concatenate([left, right], axis=1)
  for policy in several.POLICIES:
    square = several.as_one([wide], policy, side=10, fit="crop")
    assert square.shape == (10, 10, 3)
    assert (square[:, :5] == 0).all() and (square[:, 5:] == 200).all()


def test_the_first_or_none():
  pictures = [_grey(10), _grey(20)]
  first = several.as_one(pictures, "first", side=8, fit="crop")
  assert (first == 10).all()
  with pytest.raises(several.TooMany, match="got 2, expected one"):
    several.as_one(pictures, "refuse", side=8, fit="crop")


def test_a_grid_shows_all_of_all_in_order():
  # Rows of columns: shades in the middle of each cell, white elsewhere.
  for count, side, expected in (
    (2, 16, [[None, None], [0, 40], [None, None]]),
    (3, 16, [[0, 40], [80, 255]]),
    (5, 18, [[None] * 3, [0, 40, 80], [120, 160, 255], [None] * 3]),
  ):
    pictures = [_grey(40 * k, 20, 12) for k in range(count)]
    square = several.as_one(pictures, "grid", side=side, fit="crop")
    assert square.shape == (side, side, 3)
    columns = len(expected[-1])
    cell = side // columns
    rows = [row for row in expected if row[0] is not None]
    top = (side - len(rows) * cell) // 2
    for i, row in enumerate(rows):
      for j, shade in enumerate(row):
        middle = square[top + i * cell + cell // 2, j * cell + cell // 2]
        assert (middle == shade).all(), (count, i, j)
    assert (square[:top] == 255).all()
    # Whole pictures, on white: they are narrower than their cells.
    assert (square[:, 0] == 255).all()


def test_what_cannot_be_shown():
  with pytest.raises(ValueError, match="got none"):
    several.as_one([], "grid", side=8, fit="crop")
  with pytest.raises(ValueError, match="expected one of"):
    several.as_one([_grey(1)], "all", side=8, fit="crop")
  with pytest.raises(several.TooMany, match="at most 4"):
    several.as_one([_grey(1)] * 5, "grid", side=2, fit="crop")
