"""Several pictures for a network that reads one: what becomes of them."""

import math
from collections.abc import Sequence

import numpy as np

from unialign_jax.data.sources import framing

POLICIES = ("refuse", "first", "grid")
_WHITE = 255


class TooMany(ValueError):
  """More pictures than the network reads, and none may be left out."""


def as_one(
  pictures: Sequence[np.ndarray], policy: str, *, side: int, fit: str
) -> np.ndarray:
  """The one picture that the network reads.

  Args:
    pictures: at least one, each uint8 [h, w, 3].
    policy: for two or more: "refuse" them, show the "first" alone, or all in
      a "grid", row by row, each whole, on white.
    side: of the result in pixels.
    fit: how a single picture becomes a square, of `framing.POLICIES`.

  Returns:
    uint8 [side, side, 3].

  Raises:
    TooMany: several pictures, with "refuse"; more than `side` along a row.
    ValueError: no picture, or an unknown policy.
  """
  check(len(pictures), policy)
  if len(pictures) > 1 and policy == "grid":
    return _grid(pictures, side)
  (square,) = framing.frame(pictures[:1], side, fit)
  return square


def check(count: int, policy: str) -> None:
  """Refuses a number of pictures before any of them is decoded.

  Raises:
    TooMany: several, with "refuse".
    ValueError: none, or an unknown policy.
  """
  if policy not in POLICIES:
    raise ValueError(
      f"several images: got {policy!r}, expected one of {POLICIES}."
    )
  if not count:
    raise ValueError("images: got none, expected one.")
  if count > 1 and policy == "refuse":
    raise TooMany(
      f"images: got {count}, expected one, as the network reads one picture"
      " with a text; send one, or have the first or a grid of them shown."
    )


def _grid(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
  columns = math.isqrt(len(pictures) - 1) + 1
  rows = -(-len(pictures) // columns)
  cell = side // columns
  if not cell:
    raise TooMany(
      f"images: got {len(pictures)}, expected at most {side * side}, a pixel"
      " each; send fewer."
    )
  square = np.full((side, side, 3), _WHITE, np.uint8)
  top, left = (side - rows * cell) // 2, (side - columns * cell) // 2
  for number, picture in enumerate(pictures):
    row, column = divmod(number, columns)
    y, x = top + row * cell, left + column * cell
    (square[y : y + cell, x : x + cell],) = framing.frame(
      [picture], cell, "pad"
    )
  return square
