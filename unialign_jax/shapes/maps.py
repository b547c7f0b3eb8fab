"""Perception targets of a scene: canny edges, depth and pose maps."""

import numpy as np
from skimage import feature

from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

KINDS = ("canny", "depth", "pose")

# On [0, 1] channels after a Gaussian of sigma 1: above the contrast of the
# background patterns, below that of every shape in its strongest channel.
_CANNY_SIGMA = 1.0
_CANNY_LOW, _CANNY_HIGH = 0.2, 0.3
# Grey of the nearest element and the step to the one behind it.
NEAREST, DEPTH_STEP = 255, 45
LIMB_WIDTH, _HEAD_RADIUS = 2.4, 3.2
# One colour a limb, in the order of render.LIMBS.
LIMB_RGB = (
  (255, 255, 255),
  (255, 0, 0),
  (255, 150, 0),
  (0, 0, 255),
  (0, 170, 255),
  (255, 255, 0),
  (130, 255, 0),
  (180, 0, 255),
  (255, 0, 200),
)
HEAD_RGB = (0, 255, 120)


def canny(image: np.ndarray) -> np.ndarray:
  """White canny edges on black, of a uint8 [H, W, 3] picture.

  An edge of any channel counts: yellow on beige is all but flat in grey.
  """
  channels = np.moveaxis(image.astype(np.float32) / 255, -1, 0)
  edges = np.zeros(image.shape[:2], bool)
  for channel in channels:
    edges |= feature.canny(
      channel,
      sigma=_CANNY_SIGMA,
      low_threshold=_CANNY_LOW,
      high_threshold=_CANNY_HIGH,
    )
  return _grey_picture(edges * 255.0)


def depth(scene: scenes.Scene, size: int = scenes.CANVAS) -> np.ndarray:
  """Depth order as grey: the nearest element white, the background black."""
  ranks, figure_rank = scenes.depth_rank(scene)
  count = len(scene.objects) + (scene.figure is not None)
  layers = [
    (rank, render.object_coverage(item, size))
    for rank, item in zip(ranks, scene.objects)
  ]
  if scene.figure is not None:
    layers.append((figure_rank, render.figure_coverage(scene.figure, size)))
  canvas = np.zeros((size, size), np.float32)
  for rank, coverage in sorted(layers, key=lambda layer: layer[0]):
    grey = NEAREST - DEPTH_STEP * (count - 1 - rank)
    canvas += coverage * (grey - canvas)
  return _grey_picture(canvas)


def pose(scene: scenes.Scene, size: int = scenes.CANVAS) -> np.ndarray:
  """The figure's skeleton on black, one colour a limb.

  Raises:
    ValueError: the scene has no figure.
  """
  if scene.figure is None:
    raise ValueError("a pose map needs a scene with a figure, got none")
  points = render.joints(scene.figure)
  canvas = np.zeros((size, size, 3), np.float32)
  scale = size / scenes.CANVAS
  for (start, end), color in zip(render.LIMBS, LIMB_RGB):
    distance = render.segment_distance(size, points[start], points[end])
    limb = np.clip(0.5 - (distance - LIMB_WIDTH / 2) * scale, 0, 1)
    render.blend(canvas, limb, color)
  head = render.disc_coverage(size, points["head"], _HEAD_RADIUS)
  render.blend(canvas, head, HEAD_RGB)
  return (canvas + 0.5).astype(np.uint8)


def _grey_picture(grey: np.ndarray) -> np.ndarray:
  return np.repeat((grey + 0.5).astype(np.uint8)[..., None], 3, axis=-1)
