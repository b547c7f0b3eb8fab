"""What a circle, a square, ... look like to the verifier: a bank of stencils.

Defined apart from the renderer, with the freedom a shape has and still keeps
its name: the hole of a ring, the arms of a cross and the waist of a star come
in several widths, and every form in many sizes.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

WINDOW = 36  # side of a stencil; its centre is the corner in the middle
_SUBPIXELS = 4
_REACHES = np.arange(5.5, 18.0, 0.5)

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Bank:
  """Stencils of all forms and sizes.

  Attributes:
    shapes: name of each stencil's shape, [N].
    reaches: distance from its centre to its farthest point in pixels, [N].
    stencils: coverage in 0..1, float32 [N, WINDOW * WINDOW].
  """

  shapes: tuple[str, ...]
  reaches: np.ndarray
  stencils: np.ndarray


@functools.cache
def bank() -> Bank:
  """The bank, built at the first call (a fraction of a second)."""
  shapes, reaches, stencils = [], [], []
  for shape, inside in _forms():
    for reach in _REACHES:
      shapes.append(shape)
      reaches.append(reach)
      stencils.append(_stencil(inside, float(reach)))
  return Bank(
    tuple(shapes),
    np.asarray(reaches),
    np.stack(stencils).reshape(len(shapes), -1),
  )


def _forms() -> list[tuple[str, Inside]]:
  """Shapes in the unit disc, x to the right and y down."""
  forms = [
    ("circle", lambda x, y: np.hypot(x, y) <= 1),
    ("square", lambda x, y: np.maximum(abs(x), abs(y)) <= math.sqrt(0.5)),
    ("triangle", functools.partial(_inside_spokes, radii=(1.0,) * 3)),
  ]
  for hole in (0.4, 0.5, 0.6):
    forms.append(("ring", functools.partial(_inside_ring, hole=hole)))
  for arm in (0.28, 0.34, 0.4):
    forms.append(("cross", functools.partial(_inside_cross, arm=arm)))
  for waist in (0.38, 0.45):
    radii = (1.0, waist) * 5
    forms.append(("star", functools.partial(_inside_spokes, radii=radii)))
  return forms


def _inside_ring(x: np.ndarray, y: np.ndarray, hole: float) -> np.ndarray:
  radius = np.hypot(x, y)
  return (radius <= 1) & (radius >= hole)


def _inside_cross(x: np.ndarray, y: np.ndarray, arm: float) -> np.ndarray:
  """Arms of half-width `arm`, ending where their corners reach the disc."""
  longer = np.maximum(abs(x), abs(y))
  shorter = np.minimum(abs(x), abs(y))
  return (longer <= math.sqrt(1 - arm * arm)) & (shorter <= arm)


def _inside_spokes(
  x: np.ndarray, y: np.ndarray, radii: tuple[float, ...]
) -> np.ndarray:
  """Polygon with corners at even angles, the first one on top.

  Between two corners the outline is a chord: at an angle inside the sector a
  point is inside if it is on the centre's side of the chord.
  """
  step = 2 * math.pi / len(radii)
  angle = np.arctan2(x, -y) % (2 * math.pi)
  sector = np.minimum(angle // step, len(radii) - 1)
  within = angle - sector * step
  first = np.take(radii, sector.astype(int))
  second = np.take(radii, (sector.astype(int) + 1) % len(radii))
  chord = (
    first * second * math.sin(step)
    / (first * np.sin(within) + second * np.sin(step - within))
  )  # fmt: skip
  return np.hypot(x, y) <= chord


def _stencil(inside: Inside, reach: float) -> np.ndarray:
  """float32 [WINDOW, WINDOW]: share of each pixel's subpixels inside."""
  axis = np.arange(WINDOW * _SUBPIXELS) + 0.5
  axis = (axis / _SUBPIXELS - WINDOW / 2) / reach
  covered = inside(axis[None, :], axis[:, None]).astype(np.float32)
  blocks = covered.reshape(WINDOW, _SUBPIXELS, WINDOW, _SUBPIXELS)
  return blocks.mean(axis=(1, 3))
