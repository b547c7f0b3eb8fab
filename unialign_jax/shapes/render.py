"""Scene -> picture: shapes by signed distance, antialiased, in depth order.

The coverage of a pixel is its signed distance to the outline, clipped to one
pixel, so edges are smooth at any size without supersampling. A shape's
coverage depends on kind, size and scale alone and is cached: a picture is a
handful of blends.
"""

import functools
import math

import numpy as np

from unialign_jax.shapes import scene as scenes

RGB = {
  "red": (220, 30, 35),
  "orange": (250, 135, 15),
  "yellow": (245, 220, 20),
  "green": (35, 165, 60),
  "cyan": (25, 200, 215),
  "blue": (35, 75, 215),
  "purple": (130, 40, 185),
  "pink": (240, 75, 175),
}
BACKGROUND_RGB = {
  "white": (250, 250, 250),
  "gray": (192, 192, 192),
  "beige": (238, 224, 196),
  "mint": (202, 236, 214),
  "lavender": (216, 208, 244),
}
FIGURE_RGB = (25, 25, 28)
# The second tone of a pattern; low contrast, so that patterns cost little of
# a small autoencoder's capacity.
TEXTURE_TONE = 0.9
_TEXTURE_PERIOD = 16
_LINE_WIDTH = 2.6
_HEAD_RADIUS = 4.0
_SKETCH_PAPER, _SKETCH_INK = 250.0, 40.0
_SEPIA_DARK, _SEPIA_LIGHT = (50, 30, 15), (255, 240, 205)

LIMBS = (
  ("neck", "pelvis"),
  ("neck", "left_elbow"),
  ("left_elbow", "left_hand"),
  ("neck", "right_elbow"),
  ("right_elbow", "right_hand"),
  ("pelvis", "left_knee"),
  ("left_knee", "left_foot"),
  ("pelvis", "right_knee"),
  ("right_knee", "right_foot"),
)
# Offsets from the centre of the figure's box; left and right as seen.
_TRUNK = {"head": (0, -10), "neck": (0, -5), "pelvis": (0, 5)}
_ARMS_DOWN = {
  "left_elbow": (-4, -1),
  "left_hand": (-5, 4),
  "right_elbow": (4, -1),
  "right_hand": (5, 4),
}
_LEGS_CLOSED = {
  "left_knee": (-2, 10),
  "left_foot": (-3, 16),
  "right_knee": (2, 10),
  "right_foot": (3, 16),
}
_LEGS_STRIDE = {
  "left_knee": (-4, 10),
  "left_foot": (-10, 15),
  "right_knee": (5, 9),
  "right_foot": (9, 16),
}
_LEFT_ARM_UP = {"left_elbow": (-7, -6), "left_hand": (-10, -14)}
_RIGHT_ARM_UP = {"right_elbow": (7, -6), "right_hand": (10, -14)}
_ARMS_OUT = {
  "left_elbow": (-6, -4),
  "left_hand": (-12, -4),
  "right_elbow": (6, -4),
  "right_hand": (12, -4),
}
_POSES = {
  "standing": _ARMS_DOWN | _LEGS_CLOSED,
  "walking": _ARMS_DOWN | _LEGS_STRIDE,
  "waving": _ARMS_DOWN | _RIGHT_ARM_UP | _LEGS_CLOSED,
  "cheering": _LEFT_ARM_UP | _RIGHT_ARM_UP | _LEGS_CLOSED,
  "stretching": _ARMS_OUT | _LEGS_CLOSED,
}


def render(scene: scenes.Scene, size: int = scenes.CANVAS) -> np.ndarray:
  """The picture of a scene.

  Args:
    scene: what to draw; its coordinates are on a 64 x 64 canvas.
    size: side of the picture in pixels.

  Returns:
    uint8 [size, size, 3].
  """
  if scene.style == "sketch":
    return _sketch(scene, size)
  canvas = _background(scene.background, size).astype(np.float32)
  for item in scene.objects:
    blend(canvas, object_coverage(item, size), RGB[item.color])
  if scene.figure is not None:
    blend(canvas, figure_coverage(scene.figure, size), FIGURE_RGB)
  return (_restyle(canvas, scene.style) + 0.5).astype(np.uint8)


def object_coverage(
  item: scenes.Object, size: int = scenes.CANVAS
) -> np.ndarray:
  """How much of every pixel a shape covers: float32 [size, size] in 0..1."""
  coverage = np.zeros((size, size), np.float32)
  _paste(coverage, _distance(item, size), item, size)
  return coverage


def covered_share(front: scenes.Object, back: scenes.Object) -> float:
  """Share of the shape behind that the one in front hides."""
  behind = object_coverage(back)
  return float((behind * object_coverage(front)).sum() / behind.sum())


def joints(figure: scenes.Figure) -> dict[str, tuple[float, float]]:
  """Joint name -> (x, y) on the canvas."""
  sign = -1 if figure.mirrored else 1
  offsets = _TRUNK | _POSES[figure.pose]
  return {
    name: (figure.x + sign * dx, figure.y + dy)
    for name, (dx, dy) in offsets.items()
  }


def figure_coverage(
  figure: scenes.Figure, size: int = scenes.CANVAS
) -> np.ndarray:
  """How much of every pixel a figure covers: float32 [size, size] in 0..1."""
  points = joints(figure)
  distance = _disc_distance(size, points["head"], _HEAD_RADIUS)
  for start, end in LIMBS:
    limb = segment_distance(size, points[start], points[end])
    distance = np.minimum(distance, limb - _LINE_WIDTH / 2)
  return np.clip(0.5 - distance * (size / scenes.CANVAS), 0, 1)


def segment_distance(
  size: int, start: tuple[float, float], end: tuple[float, float]
) -> np.ndarray:
  """Distance of every pixel to a line segment, float32 [size, size], in
  units of the canvas."""
  x, y = _pixel_centres(size)
  (ax, ay), (bx, by) = start, end
  dx, dy = bx - ax, by - ay
  along = ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-6)
  along = np.clip(along, 0, 1)
  return np.hypot(x - ax - along * dx, y - ay - along * dy)


def disc_coverage(
  size: int, centre: tuple[float, float], radius: float
) -> np.ndarray:
  """Coverage of a filled circle, float32 [size, size]."""
  distance = _disc_distance(size, centre, radius)
  return np.clip(0.5 - distance * (size / scenes.CANVAS), 0, 1)


def blend(
  canvas: np.ndarray, coverage: np.ndarray, color: tuple[int, int, int]
) -> None:
  """Paints a colour onto a float32 [size, size, 3] canvas, in place."""
  canvas += coverage[..., None] * (np.asarray(color, np.float32) - canvas)


def _disc_distance(
  size: int, centre: tuple[float, float], radius: float
) -> np.ndarray:
  x, y = _pixel_centres(size)
  return np.hypot(x - centre[0], y - centre[1]) - radius


@functools.cache
def _pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:
  """x as [1, size] and y as [size, 1], in units of the canvas."""
  centres = (np.arange(size, dtype=np.float32) + 0.5) * (scenes.CANVAS / size)
  return centres[None, :], centres[:, None]


@functools.cache
def _background(background: scenes.Background, size: int) -> np.ndarray:
  """uint8 [size, size, 3]; patterns start at the top left corner."""
  x, y = _pixel_centres(size)
  period, half = _TEXTURE_PERIOD, _TEXTURE_PERIOD // 2
  if background.texture == "plain":
    dark = np.zeros((size, size), bool)
  elif background.texture == "striped":
    dark = (y % period >= half) & (x >= 0)
  elif background.texture == "checked":
    dark = (y % period >= half) ^ (x % period >= half)
  elif background.texture == "dotted":
    dark = np.hypot(x % period - half, y % period - half) < 3.5
  else:
    raise ValueError(
      f"unknown texture {background.texture!r}, expected one of"
      f" {scenes.TEXTURES}"
    )
  tone = np.where(dark, TEXTURE_TONE, 1.0)[..., None]
  return np.rint(tone * BACKGROUND_RGB[background.color]).astype(np.uint8)


def _restyle(canvas: np.ndarray, style: str) -> np.ndarray:
  """float32 [size, size, 3] in 0..255, in the asked style."""
  if style == "natural":
    return canvas
  if style == "negative":
    return 255.0 - canvas
  grey = canvas @ np.asarray((0.299, 0.587, 0.114), np.float32)
  if style == "grayscale":
    return np.repeat(grey[..., None], 3, axis=-1)
  if style == "sepia":
    dark = np.asarray(_SEPIA_DARK, np.float32)
    light = np.asarray(_SEPIA_LIGHT, np.float32)
    return dark + (grey / 255.0)[..., None] * (light - dark)
  raise ValueError(f"unknown style {style!r}, expected one of {scenes.STYLES}")


def _sketch(scene: scenes.Scene, size: int) -> np.ndarray:
  """Outlines in ink on paper; colours and patterns are gone."""
  paper = np.full((size, size), _SKETCH_PAPER, np.float32)
  for item in scene.objects:
    distance = _distance(item, size)
    inside = np.zeros_like(paper)
    _paste(inside, distance, item, size)
    line = np.zeros_like(paper)
    _paste(line, np.abs(distance) - 0.9, item, size)
    paper += inside * (_SKETCH_PAPER - paper)
    paper += line * (_SKETCH_INK - paper)
  if scene.figure is not None:
    paper += figure_coverage(scene.figure, size) * (_SKETCH_INK - paper)
  return np.repeat((paper + 0.5).astype(np.uint8)[..., None], 3, axis=-1)


def _distance(item: scenes.Object, size: int) -> np.ndarray:
  if item.shape not in scenes.SHAPES:
    raise ValueError(
      f"unknown shape {item.shape!r}, expected one of {scenes.SHAPES}"
    )
  scale = size / scenes.CANVAS
  # Centres are whole canvas units; only the part of a pixel left over after
  # scaling changes the stamp.
  return _stamp(
    item.shape,
    item.radius * scale,
    item.x * scale % 1.0,
    item.y * scale % 1.0,
  )


def _paste(
  canvas: np.ndarray, distance: np.ndarray, item: scenes.Object, size: int
) -> None:
  """Writes the coverage of a stamp where the object stands."""
  scale, half = size / scenes.CANVAS, distance.shape[0] // 2
  top, left = int(item.y * scale) - half, int(item.x * scale) - half
  rows = slice(max(top, 0), min(top + 2 * half, size))
  columns = slice(max(left, 0), min(left + 2 * half, size))
  part = distance[
    rows.start - top : rows.stop - top,
    columns.start - left : columns.stop - left,
  ]
  canvas[rows, columns] = np.clip(0.5 - part, 0, 1)


@functools.cache
def _stamp(shape: str, radius: float, dx: float, dy: float) -> np.ndarray:
  """Signed distance in pixels around a shape's centre, negative inside."""
  half = math.ceil(1.3 * radius) + 3
  axis = np.arange(-half, half, dtype=np.float32) + 0.5
  x, y = (axis - dx)[None, :] / radius, (axis - dy)[:, None] / radius
  return (_OUTLINES[shape](x, y) * radius).astype(np.float32)


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return np.hypot(x, y) - 1.0


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return np.abs(np.hypot(x, y) - 0.75) - 0.25


def _box(
  x: np.ndarray, y: np.ndarray, half_width: float, half_height: float
) -> np.ndarray:
  dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
  outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
  return outside + np.minimum(np.maximum(dx, dy), 0)


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return _box(x, y, 0.88, 0.88)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return np.minimum(_box(x, y, 1.05, 0.37), _box(x, y, 0.37, 1.05))


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return _polygon(x, y, _spokes(3, (1.2,)))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return _polygon(x, y, _spokes(10, (1.2, 0.52)))


def _spokes(count: int, radii: tuple[float, ...]) -> list[tuple[float, float]]:
  """Corners evenly around the centre, the first one on top."""
  corners = []
  for i in range(count):
    angle, radius = 2 * math.pi * i / count, radii[i % len(radii)]
    corners.append((radius * math.sin(angle), -radius * math.cos(angle)))
  return corners


def _polygon(
  x: np.ndarray, y: np.ndarray, corners: list[tuple[float, float]]
) -> np.ndarray:
  """Signed distance to a simple polygon: nearest edge, parity of crossings."""
  distance = np.full(np.broadcast(x, y).shape, np.inf)
  inside = np.zeros(distance.shape, bool)
  for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
    ex, ey = bx - ax, by - ay
    along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex**2 + ey**2), 0, 1)
    gap = np.hypot(x - ax - along * ex, y - ay - along * ey)
    distance = np.minimum(distance, gap)
    crosses = (ay > y) != (by > y)
    inside ^= crosses & (x < ax + (y - ay) * ex / (ey if ey else 1e-9))
  return np.where(inside, -distance, distance)


_OUTLINES = {
  "circle": _circle,
  "square": _square,
  "triangle": _triangle,
  "star": _star,
  "cross": _cross,
  "ring": _ring,
}
