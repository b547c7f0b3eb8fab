"""Reads a scene back from pixels alone, by classical vision.

Colours by hue, blobs by connected components, shapes by the stencil that
explains a blob best, where pixels of other shapes count as unknown: what is
hidden behind them cannot speak against a stencil. Nothing here knows how
pictures are made; the palette is a list of hues.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from unialign_jax.shapes import forms

# Hue in degrees and chroma (largest minus smallest channel, of 255).
HUES = {
  "red": (358, 190),
  "orange": (31, 235),
  "yellow": (53, 225),
  "green": (132, 130),
  "cyan": (185, 190),
  "blue": (227, 180),
  "purple": (278, 145),
  "pink": (323, 165),
}
GROUNDS = {
  "white": (250, 250, 250),
  "gray": (192, 192, 192),
  "beige": (238, 224, 196),
  "mint": (202, 236, 214),
  "lavender": (216, 208, 244),
}
_COLORS = tuple(HUES)
_SIDE = 64
_DARK = 105  # a figure's ink: every channel below
_MIN_AREA = 28  # pixels of a blob; less is an edge or a speck
_MIN_DEPTH = 1.5  # pixels from the border to the inmost point of a blob
_MIN_FIT = 0.62  # overlap of blob and stencil below which a shape is unknown
_LARGE_REACH = 10.4  # pixels from centre to farthest point
# Pixels around the middle of a blob's box where the shape's centre may lie: a
# triangle's is off by a quarter of its reach, hidden parts shift it further.
_SEARCH, _SEARCH_HIDDEN = 5, 9
# What a hidden pixel costs: enough to prefer the smaller of equal stencils.
_HIDDEN_COST = 0.12
_MIN_FIGURE_AREA = 70


@dataclasses.dataclass(frozen=True)
class Observed:
  """A shape as seen.

  Attributes:
    shape: one of the six names, or "unknown" where no form fits.
    color: name of the nearest hue.
    size: "small" or "large".
    x, y: centre in pixels of a 64 x 64 picture.
    reach: distance from the centre to the farthest point, in pixels.
    fit: overlap (intersection over union) of blob and best form, hidden
      pixels left out.
  """

  shape: str
  color: str
  size: str
  x: float
  y: float
  reach: float
  fit: float


@dataclasses.dataclass(frozen=True)
class ObservedFigure:
  pose: str
  x: float
  y: float


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a picture shows; shapes from top to bottom."""

  objects: tuple[Observed, ...]
  background: str
  texture: str
  figure: ObservedFigure | None


def read(image: np.ndarray) -> Reading:
  """The scene in a picture.

  Args:
    image: uint8 [64, 64, 3].

  Raises:
    ValueError: another shape or type.
  """
  if image.shape != (_SIDE, _SIDE, 3) or image.dtype != np.uint8:
    raise ValueError(
      f"got a picture of {image.dtype} {image.shape}, expected uint8"
      f" [{_SIDE}, {_SIDE}, 3]; resize it first"
    )
  pixels = image.astype(np.float32)
  labels = _color_labels(pixels)
  dark = (pixels.max(axis=-1) < _DARK) & (labels == 0)
  found: list[Observed] = []
  for index in range(len(_COLORS)):
    found += _read_color(labels, dark, index + 1)
  ground, texture = _read_ground(pixels, (labels > 0) | dark)
  return Reading(
    tuple(sorted(found, key=lambda o: (o.y, o.x))),
    ground,
    texture,
    _read_figure(dark),
  )


def _color_labels(pixels: np.ndarray) -> np.ndarray:
  """int [H, W]: 1 + index of the nearest hue, 0 where there is no colour.

  Mixing with a pale ground keeps the hue and lowers the chroma, so half of a
  colour's chroma is its antialiased or blurred edge.
  """
  top, bottom = pixels.max(axis=-1), pixels.min(axis=-1)
  chroma = top - bottom
  red, green, blue = np.moveaxis(pixels, -1, 0)
  angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
  hue = np.degrees(angle)[..., None]
  hues = np.asarray([_hexagon_to_angle(h) for h, _ in HUES.values()])
  distance = np.abs((hue - hues + 180) % 360 - 180)
  nearest = distance.argmin(axis=-1)
  typical = np.asarray([c for _, c in HUES.values()])[nearest]
  return np.where(chroma > 0.55 * typical, nearest + 1, 0)


def _hexagon_to_angle(hue: float) -> float:
  """Hue of the HSV hexagon -> polar angle in the chroma plane, degrees."""
  sector, part = divmod(hue / 60, 1)
  corners = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1))
  first = np.asarray(corners[int(sector)], float)
  second = np.asarray(corners[(int(sector) + 1) % 6], float)
  red, green, blue = first * (1 - part) + second * part
  angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
  return float(np.degrees(angle))


def _read_color(
  labels: np.ndarray, dark: np.ndarray, label: int
) -> list[Observed]:
  """All shapes of one colour, the largest blob first."""
  rest = labels == label
  hidden = ((labels > 0) & ~rest) | dark
  found = []
  while True:
    blob = _largest_blob(rest)
    if blob is None:
      return found
    item, stencil = _fit(blob, rest, hidden, _COLORS[label - 1])
    found.append(item)
    explained = ndimage.binary_dilation(stencil > 0.1, iterations=1)
    rest = rest & ~explained & ~blob


def _largest_blob(mask: np.ndarray) -> np.ndarray | None:
  """The largest connected piece that is neither a speck nor an edge."""
  pieces, count = ndimage.label(mask)
  if not count:
    return None
  areas = np.bincount(pieces.ravel())[1:]
  for index in np.argsort(-areas):
    if areas[index] < _MIN_AREA:
      return None
    piece = pieces == index + 1
    depth = ndimage.distance_transform_edt(np.pad(piece, 1)).max()
    if depth >= _MIN_DEPTH:
      return piece
  return None


def _fit(
  blob: np.ndarray, same: np.ndarray, hidden: np.ndarray, color: str
) -> tuple[Observed, np.ndarray]:
  """The stencil and place that explain a blob best.

  Score of a stencil = pixels of the blob inside it, counted twice, plus other
  pixels of the colour inside it (a shape may be cut in two), minus visible
  pixels of anything else inside it.
  """
  weight = np.where(blob, 2.0, np.where(same, 1.0, -1.0))
  weight = np.where(hidden, -_HIDDEN_COST, weight).astype(np.float32)
  partly = (ndimage.binary_dilation(blob, iterations=2) & hidden).any()
  search = _SEARCH_HIDDEN if partly else _SEARCH
  best, x, y = _best_stencil(weight, _middle(blob), search)
  bank = forms.bank()
  stencil = _put(bank.stencils[best], x, y)
  visible = np.where(hidden, 0.0, stencil)
  shared = visible[blob | same].sum()
  missing = (1.0 - visible)[blob].sum()
  overlap = float(shared / (visible.sum() + missing))
  reach = float(bank.reaches[best])
  item = Observed(
    bank.shapes[best] if overlap >= _MIN_FIT else "unknown",
    color,
    "large" if reach > _LARGE_REACH else "small",
    float(x),
    float(y),
    reach,
    overlap,
  )
  return item, stencil


def _middle(blob: np.ndarray) -> tuple[int, int]:
  """x and y of the corner nearest to the middle of a blob's box."""
  rows, columns = np.nonzero(blob)
  return (
    round((columns.min() + columns.max() + 1) / 2),
    round((rows.min() + rows.max() + 1) / 2),
  )


def _best_stencil(
  weight: np.ndarray, middle: tuple[int, int], search: int
) -> tuple[int, int, int]:
  """Number and centre (x, y) of the stencil with the largest weighted sum."""
  x, y = middle
  margin = forms.WINDOW // 2 + search
  # Beyond the border there is nothing to see, and nothing of the shape.
  padded = np.pad(weight, margin, constant_values=-1.0)
  around = padded[y : y + 2 * margin, x : x + 2 * margin]
  shape = (forms.WINDOW, forms.WINDOW)
  windows = np.lib.stride_tricks.sliding_window_view(around, shape)
  steps = windows.shape[0]
  scores = forms.bank().stencils @ windows.reshape(steps * steps, -1).T
  best, place = np.unravel_index(scores.argmax(), scores.shape)
  row, column = divmod(int(place), steps)
  return int(best), x - search + column, y - search + row


def _put(stencil: np.ndarray, x: int, y: int) -> np.ndarray:
  """A stencil centred at a corner of the picture's pixel grid."""
  half = forms.WINDOW // 2
  canvas = np.zeros((_SIDE + 2 * half, _SIDE + 2 * half), np.float32)
  square = stencil.reshape(forms.WINDOW, forms.WINDOW)
  canvas[y : y + forms.WINDOW, x : x + forms.WINDOW] = square
  return canvas[half:-half, half:-half]


def _read_ground(pixels: np.ndarray, covered: np.ndarray) -> tuple[str, str]:
  """Colour and pattern of what no shape covers."""
  free = ~ndimage.binary_dilation(covered, iterations=3)
  if free.sum() < 200:
    free = ~covered
  smooth = ndimage.uniform_filter(pixels.mean(axis=-1), 3)
  tones = smooth[free]
  if not tones.size:
    return "unknown", "unknown"
  bright = pixels[free & (smooth >= np.median(tones))].mean(axis=0)
  distances = {
    name: float(np.linalg.norm(bright - rgb)) for name, rgb in GROUNDS.items()
  }
  low, high = np.percentile(tones, (4, 97))
  return min(distances, key=distances.__getitem__), _pattern(
    smooth, free, float(low), float(high)
  )


def _pattern(
  tone: np.ndarray, free: np.ndarray, low: float, high: float
) -> str:
  """Even, or dark spots, or dark rows, or dark cells."""
  if high - low < 9:
    return "plain"
  dark = (tone < (low + high) / 2) & free
  if dark.sum() < 0.3 * free.sum():
    return "dotted"
  share = dark.sum(axis=1) / np.maximum(free.sum(axis=1), 1)
  mixed = np.minimum(share, 1 - share)[free.sum(axis=1) > 16]
  if not mixed.size:
    return "unknown"  # no row shows enough of the ground
  return "striped" if np.mean(mixed) < 0.12 else "checked"


def _read_figure(dark: np.ndarray) -> ObservedFigure | None:
  """A stick figure: the head is where the ink is widest.

  The unit below is the distance from the head to the feet; limbs are judged
  by where ink lies around the head.
  """
  if dark.sum() < _MIN_FIGURE_AREA:
    return None
  pieces, count = ndimage.label(dark, np.ones((3, 3)))
  areas = ndimage.sum_labels(dark, pieces, range(1, count + 1))
  body = pieces == 1 + int(np.argmax(areas))
  if body.sum() < _MIN_FIGURE_AREA:
    return None
  depth = ndimage.distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1]
  head_y, head_x = np.argwhere(depth >= depth.max() - 0.3).mean(axis=0)
  rows, columns = np.nonzero(body)
  unit = max(float(rows.max() - head_y), 1.0) / 26.0
  dx, dy = (columns - head_x) / unit, (rows - head_y) / unit
  pose = _pose(dx, dy)
  return ObservedFigure(pose, float(head_x) + 0.5, float(head_y + 10 * unit))


def _pose(dx: np.ndarray, dy: np.ndarray) -> str:
  raised = [np.sum((side * dx > 6.5) & (dy < 1)) >= 4 for side in (-1, 1)]
  if all(raised):
    return "cheering"
  if any(raised):
    return "waving"
  level = (dy > 2) & (dy < 11)
  if all(np.sum(level & (side * dx > 9)) >= 4 for side in (-1, 1)):
    return "stretching"
  feet = dx[dy > 21]
  return "walking" if feet.size and np.ptp(feet) > 13 else "standing"
