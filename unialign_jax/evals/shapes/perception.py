"""Scores of maps that a model has drawn: edges, depth, poses.

Every score is 1 for the true map and about 0 for a picture that has nothing
to do with it, an even one among them.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import morphology

from unialign_jax.shapes import maps
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

_WHITE = 127  # an edge is brighter
# Pixels that an edge may lie off, along each axis and diagonally.
_TOLERANCE = np.ones((3, 3), bool)
# An element is brighter than half of the darkest one: of four shapes and a
# figure, the farthest.
_NEAREST, _STEP = maps.NEAREST, maps.DEPTH_STEP
_ELEMENT = (_NEAREST - _STEP * scenes.MAX_OBJECTS) / 2
_LIT = 128  # a limb's brightest channel
_LEAST_LIMB = 4  # pixels
# Of the figure's height, by which a joint may be off.
PCK = 0.1


class Depth(NamedTuple):
  """Of one map.

  Attributes:
    accuracy: share of the pixels of elements, in truth or in the map, that
      have the right order: their grey within half a step.
    error: mean distance of their grey, as a share of 255; 0 is best.
  """

  accuracy: float
  error: float


def canny_f1(picture: np.ndarray, target: np.ndarray) -> float:
  """Harmonic mean of how many edges are true and how many are there.

  Edges are thinned to one pixel, and may be one pixel off.

  Args:
    picture: uint8 [H, W, 3], as drawn.
    target: uint8 [H, W, 3], of `maps.canny`.
  """
  drawn, true = (_edges(image) for image in (picture, target))
  if not drawn.any() or not true.any():
    return float(drawn.any() == true.any())
  precision = _share_near(drawn, true)
  recall = _share_near(true, drawn)
  if precision + recall == 0:
    return 0.0
  return 2 * precision * recall / (precision + recall)


def depth(picture: np.ndarray, target: np.ndarray) -> Depth:
  """Over all pixels of elements, and those that the map takes for some.

  Args:
    picture: uint8 [H, W, 3], as drawn.
    target: uint8 [H, W, 3], of `maps.depth`.
  """
  drawn, true = (image.mean(axis=-1) for image in (picture, target))
  counts = (drawn > _ELEMENT) | (true > _ELEMENT)
  apart = np.abs(drawn - true)[counts]
  return Depth(
    accuracy=float(np.mean(apart <= _STEP / 2)),
    error=float(np.mean(apart)) / 255,
  )


def pose_pck(picture: np.ndarray, figure: scenes.Figure) -> float:
  """Share of the 11 joints that lie within `PCK` of the figure's height.

  A limb is where its colour is; it ends at two joints, which a joint's limbs
  give together. What is not drawn is wrong.

  Args:
    picture: uint8 [64, 64, 3], as drawn.
    figure: whose pose it should be.
  """
  points = {name: np.array(xy) for name, xy in render.joints(figure).items()}
  places = _by_color(picture)
  found: dict[str, np.ndarray] = {}
  # At a joint the limb that is drawn last lies over the others.
  for (start, end), pixels in zip(render.LIMBS, places):
    found |= _ends(pixels, start, end, points)
  if len(places[-1]) >= _LEAST_LIMB:
    found["head"] = places[-1].mean(axis=0)
  height = np.ptp([y for _, y in points.values()])
  right = [
    name in found and np.hypot(*(found[name] - point)) <= PCK * height
    for name, point in points.items()
  ]
  return float(np.mean(right))


def _edges(image: np.ndarray) -> np.ndarray:
  return morphology.skeletonize(image.mean(axis=-1) > _WHITE)


def _share_near(these: np.ndarray, those: np.ndarray) -> float:
  near = ndimage.binary_dilation(those, _TOLERANCE)
  return float(near[these].mean())


def _by_color(picture: np.ndarray) -> list[np.ndarray]:
  """(x, y) of the pixels [N, 2] of every limb, then of the head.

  A dim pixel is a limb's edge and keeps its hue, so the direction counts. Of
  each colour the largest piece: where limbs of two colours meet, the mixture
  can look like a third.
  """
  pixels = picture.astype(np.float32)
  palette = np.asarray([*maps.LIMB_RGB, maps.HEAD_RGB], np.float32)
  palette /= np.linalg.norm(palette, axis=-1, keepdims=True)
  length = np.linalg.norm(pixels, axis=-1, keepdims=True)
  closest = (pixels / np.maximum(length, 1) @ palette.T).argmax(axis=-1)
  lit = picture.max(axis=-1) >= _LIT
  scale = scenes.CANVAS / picture.shape[0]
  return [
    (np.argwhere(_largest(lit & (closest == number)))[:, ::-1] + 0.5) * scale
    for number in range(len(palette))
  ]


def _largest(region: np.ndarray) -> np.ndarray:
  pieces, count = ndimage.label(region, _TOLERANCE)
  if not count:
    return region
  return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _ends(
  places: np.ndarray, start: str, end: str, points: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """A limb's two ends: the farthest of its pixels along its main axis.

  Its two joints cannot be told apart by its colour, so each end is given to
  the joint that it fits better.
  """
  if len(places) < _LEAST_LIMB:
    return {}
  middle = places.mean(axis=0)
  _, _, axes = np.linalg.svd(places - middle, full_matrices=False)
  along = (places - middle) @ axes[0]
  # A limb is drawn with round ends beyond its joints; the middles of its last
  # pixels are half a pixel short of them.
  reach = (maps.LIMB_WIDTH - 1) / 2
  low, high = along.min() + reach, along.max() - reach
  first, second = (middle + part * axes[0] for part in (low, high))
  straight = _apart(first, points[start]) + _apart(second, points[end])
  crossed = _apart(first, points[end]) + _apart(second, points[start])
  if straight > crossed:
    first, second = second, first
  return {start: first, end: second}


def _apart(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.hypot(*(a - b)))
