"""What a picture of the Shapes world shows, before any pixel.

A scene is shapes in depth order on a background, and perhaps one stick
figure. Coordinates are in units of a 64 x 64 canvas, y pointing down, and a
shape that is lower in the picture is nearer, so that depth can be seen.
`sample_scene` draws scenes that can be read back without ambiguity.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

CANVAS = 64
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS = (
  "red",
  "orange",
  "yellow",
  "green",
  "cyan",
  "blue",
  "purple",
  "pink",
)
SIZES = ("small", "large")
BACKGROUND_COLORS = ("white", "gray", "beige", "mint", "lavender")
TEXTURES = ("plain", "striped", "checked", "dotted")
POSES = ("standing", "walking", "waving", "cheering", "stretching")
# "natural" is the picture as it is; the others are what a style edit makes.
STYLES = ("natural", "grayscale", "sepia", "sketch", "negative")
MAX_OBJECTS = 4
MAX_OBJECTS_WITH_FIGURE = 2

RADIUS = {"small": 7, "large": 12}
# Distance from the centre to the farthest point, in radii; render.py draws
# the outlines that these follow from.
REACH = {
  "circle": 1.0,
  "square": 1.25,
  "triangle": 1.2,
  "star": 1.2,
  "cross": 1.12,
  "ring": 1.0,
}
FIGURE_HALF_WIDTH = 14
FIGURE_HALF_HEIGHT = 18

# Column and row borders of the 3 x 3 regions, and how far a centre stays away
# from them, so that "left" and "center" are never one pixel apart.
_BORDERS = (24, 40)
REGION_CENTERS = (12, 32, 52)
_BORDER_MARGIN = 2
_EDGE_MARGIN = 1
# Shapes of one colour must not merge into one blob after a slight blur.
_SAME_COLOR_GAP = 4.0
# Share of the summed reaches that two overlapping shapes keep between their
# centres: about three quarters of the one behind stays visible.
_OVERLAP = 0.8
_FIGURE_GAP = 1.5


class Placed(Protocol):
  """Anything with a centre: an object, a figure, what a verifier saw."""

  @property
  def x(self) -> float: ...

  @property
  def y(self) -> float: ...


@dataclasses.dataclass(frozen=True, order=True)
class Object:
  """One shape; x and y are its centre."""

  shape: str
  color: str
  size: str
  x: int
  y: int

  @property
  def radius(self) -> int:
    return RADIUS[self.size]

  @property
  def reach(self) -> float:
    return REACH[self.shape] * self.radius


@dataclasses.dataclass(frozen=True)
class Figure:
  """A stick figure; x and y are the centre of its box."""

  pose: str
  x: int
  y: int
  mirrored: bool = False


@dataclasses.dataclass(frozen=True)
class Background:
  color: str = "white"
  texture: str = "plain"


@dataclasses.dataclass(frozen=True)
class Scene:
  """Shapes from back to front, the background, and perhaps a figure."""

  objects: tuple[Object, ...]
  background: Background = Background()
  figure: Figure | None = None
  style: str = "natural"

  def to_json(self) -> str:
    return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

  @classmethod
  def from_json(cls, text: str) -> "Scene":
    """Inverse of `to_json`; an unknown or missing field is a TypeError."""
    fields = json.loads(text)
    fields["objects"] = tuple(Object(**o) for o in fields["objects"])
    fields["background"] = Background(**fields["background"])
    if fields["figure"] is not None:
      fields["figure"] = Figure(**fields["figure"])
    return cls(**fields)


def arrange(objects: Sequence[Object]) -> tuple[Object, ...]:
  """Back to front: the lower in the picture, the nearer."""
  return tuple(sorted(objects, key=lambda o: (o.y, o.x, o)))


def depth_rank(scene: Scene) -> tuple[list[int], int]:
  """Rank of every object and of the figure, 0 = farthest; -1 without one."""
  if scene.figure is None:
    return list(range(len(scene.objects))), -1
  behind = sum(o.y < scene.figure.y for o in scene.objects)
  ranks = [i + (i >= behind) for i in range(len(scene.objects))]
  return ranks, behind


def region(x: float, y: float) -> str:
  """One of nine places, e.g. "top left", "left" or "center"."""
  column = ("left", "", "right")[sum(x >= b for b in _BORDERS)]
  row = ("top", "", "bottom")[sum(y >= b for b in _BORDERS)]
  return " ".join(word for word in (row, column) if word) or "center"


def relation(a: Placed, b: Placed) -> str:
  """How a lies to b, or "" where two answers would be defensible."""
  dx, dy = a.x - b.x, a.y - b.y
  if abs(dx) >= 10 and abs(dx) >= 1.5 * abs(dy):
    return "left of" if dx < 0 else "right of"
  if abs(dy) >= 10 and abs(dy) >= 1.5 * abs(dx):
    return "above" if dy < 0 else "below"
  return ""


def touches(a: Object, b: Object) -> bool:
  """Whether the circles around two shapes meet; render.covered_share tells
  whether the shapes do."""
  return math.dist((a.x, a.y), (b.x, b.y)) < a.reach + b.reach


def is_valid(scene: Scene) -> bool:
  """Whether every statement about the scene can be read off its picture."""
  return (
    scene.objects == arrange(scene.objects)
    and all(_fits(o, scene.objects[:i]) for i, o in enumerate(scene.objects))
    and all(_lonely_enough(o, scene.objects) for o in scene.objects)
    and (scene.figure is None or _figure_fits(scene.figure, scene.objects))
  )


def signature(scene: Scene) -> str:
  """What the scene shows up to pixel positions: the identity of a scene.

  Two scenes that differ only within a region (see `region`) share it, so a
  split made by it holds out descriptions and not merely offsets.
  """
  parts = sorted(
    f"{o.shape} {o.color} {o.size} {region(o.x, o.y)}" for o in scene.objects
  )
  parts.append(f"{scene.background.texture} {scene.background.color}")
  if scene.figure is not None:
    place = region(scene.figure.x, scene.figure.y)
    parts.append(f"{scene.figure.pose} {place}")
  return " | ".join([*parts, scene.style])


def split(scene: Scene) -> str:
  """train (80 %), validation or test (10 % each), decided by the scene."""
  digest = hashlib.sha256(signature(scene).encode()).digest()
  tenth = int.from_bytes(digest[:8], "big") % 10
  return {8: "validation", 9: "test"}.get(tenth, "train")


def sample_scene(
  rng: np.random.Generator,
  *,
  min_objects: int = 1,
  max_objects: int = MAX_OBJECTS,
  weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
  textured: float = 0.5,
  figure: float = 0.15,
  overlap: float = 0.3,
  repeat: float = 0.15,
  jitter: int | None = None,
) -> Scene:
  """Draws a valid scene.

  Args:
    rng: the only source of randomness.
    min_objects: least number of shapes.
    max_objects: largest number of shapes, at most 4.
    weights: relative frequency of 1, 2, 3 and 4 shapes.
    textured: probability of a background with a pattern.
    figure: probability of a stick figure where it has room, which is in
      scenes of one or two shapes.
    overlap: probability that shapes may cover one another in part.
    repeat: probability that all shapes have one kind (half of the time one
      colour too). Otherwise no two agree in both shape and colour.
    jitter: how far a shape may lie from the middle of a region (as far in as
      its size asks), in units of the canvas along each axis; None: anywhere.

  Returns:
    A scene for which `is_valid` holds.

  Raises:
    ValueError: the bounds or the weights leave no number of shapes.
  """
  count = _sample_count(rng, min_objects, max_objects, weights)
  has_figure = count <= MAX_OBJECTS_WITH_FIGURE and rng.random() < figure
  background = sample_background(rng, textured)
  may_overlap = rng.random() < overlap
  while True:
    person = _sample_figure(rng) if has_figure else None
    kinds = _sample_kinds(rng, count, rng.random() < repeat)
    objects = _place(rng, kinds, person, may_overlap, jitter)
    if objects is not None:
      scene = Scene(arrange(objects), background, person)
      if is_valid(scene):
        return scene


def sample_background(
  rng: np.random.Generator, textured: float = 0.5
) -> Background:
  """A background colour, with a pattern at probability `textured`."""
  color = BACKGROUND_COLORS[rng.integers(len(BACKGROUND_COLORS))]
  if rng.random() >= textured:
    return Background(color)
  return Background(color, TEXTURES[rng.integers(1, len(TEXTURES))])


def _sample_count(
  rng: np.random.Generator,
  min_objects: int,
  max_objects: int,
  weights: Sequence[float],
) -> int:
  if not 1 <= min_objects <= max_objects <= MAX_OBJECTS:
    raise ValueError(
      f"got min_objects={min_objects}, max_objects={max_objects}, expected"
      f" 1 <= min_objects <= max_objects <= {MAX_OBJECTS}"
    )
  if len(weights) != MAX_OBJECTS:
    raise ValueError(
      f"got {len(weights)} weights, expected {MAX_OBJECTS}: one for each"
      " number of shapes"
    )
  allowed = np.asarray(weights[min_objects - 1 : max_objects], np.float64)
  if not (allowed >= 0).all() or allowed.sum() <= 0:
    raise ValueError(
      f"weights {tuple(weights)} give no frequency to {min_objects} to"
      f" {max_objects} shapes; set one of these weights above zero"
    )
  return min_objects + int(rng.choice(len(allowed), p=allowed / allowed.sum()))


def _sample_kinds(
  rng: np.random.Generator, count: int, repeat: bool
) -> list[tuple[str, str, str]]:
  """Shape, colour and size of each object."""
  sizes = [SIZES[i] for i in rng.integers(len(SIZES), size=count)]
  if repeat:
    shape = SHAPES[rng.integers(len(SHAPES))]
    same = rng.random() < 0.5
    first = int(rng.integers(len(COLORS)))
    step = 0 if same else int(rng.integers(1, 3))
    colors = [COLORS[(first + step * i) % len(COLORS)] for i in range(count)]
    return [(shape, color, size) for color, size in zip(colors, sizes)]
  pairs = rng.choice(len(SHAPES) * len(COLORS), size=count, replace=False)
  return [
    (SHAPES[pair // len(COLORS)], COLORS[pair % len(COLORS)], size)
    for pair, size in zip(pairs, sizes)
  ]


def _sample_figure(rng: np.random.Generator) -> Figure:
  while True:
    half_width, half_height = FIGURE_HALF_WIDTH, FIGURE_HALF_HEIGHT
    person = Figure(
      pose=POSES[rng.integers(len(POSES))],
      x=int(rng.integers(half_width + 1, CANVAS - half_width)),
      y=int(rng.integers(half_height + 1, CANVAS - half_height)),
      mirrored=bool(rng.integers(2)),
    )
    if _off_borders(person):
      return person


def _place(
  rng: np.random.Generator,
  kinds: Sequence[tuple[str, str, str]],
  person: Figure | None,
  may_overlap: bool,
  jitter: int | None,
) -> list[Object] | None:
  """Positions for the kinds, or None after too many tries."""
  placed: list[Object] = []
  for kind in kinds:
    margin = math.ceil(REACH[kind[0]] * RADIUS[kind[2]]) + _EDGE_MARGIN
    for x, y in _centers(rng, margin, jitter):
      item = Object(*kind, x=int(x), y=int(y))
      free = may_overlap or not any(touches(item, o) for o in placed)
      clear = person is None or _clear_of_figure(item, person)
      if free and clear and _fits(item, placed):
        placed.append(item)
        break
    else:
      return None
  return placed


def _centers(
  rng: np.random.Generator, margin: int, jitter: int | None
) -> np.ndarray:
  """Places to try, [40, 2], at least `margin` away from the edges."""
  if jitter is None:
    return rng.integers(margin, CANVAS - margin + 1, size=(40, 2))
  centers = rng.choice(REGION_CENTERS, size=(40, 2))
  centers += rng.integers(-jitter, jitter + 1, size=(40, 2))
  return np.clip(centers, margin, CANVAS - margin)


def _off_borders(item: Placed) -> bool:
  return all(
    abs(coordinate - border) >= _BORDER_MARGIN
    for coordinate in (item.x, item.y)
    for border in _BORDERS
  )


def _fits(item: Object, others: Sequence[Object]) -> bool:
  """Inside the canvas, off the region borders, far enough from the others."""
  low, high = item.reach + _EDGE_MARGIN, CANVAS - item.reach - _EDGE_MARGIN
  if not (low <= item.x <= high and low <= item.y <= high):
    return False
  if not _off_borders(item):
    return False
  for other in others:
    reaches = item.reach + other.reach
    same = item.color == other.color
    least = reaches + _SAME_COLOR_GAP if same else _OVERLAP * reaches
    if math.dist((item.x, item.y), (other.x, other.y)) < least:
      return False
  return True


def _lonely_enough(item: Object, objects: Sequence[Object]) -> bool:
  """At most one neighbour covers a shape or is covered by it."""
  return sum(touches(item, o) for o in objects if o is not item) <= 1


def _clear_of_figure(item: Object, person: Figure) -> bool:
  """Whether the circle around a shape misses the figure's box."""
  dx = max(abs(item.x - person.x) - FIGURE_HALF_WIDTH, 0)
  dy = max(abs(item.y - person.y) - FIGURE_HALF_HEIGHT, 0)
  return math.hypot(dx, dy) >= item.reach + _FIGURE_GAP


def _figure_fits(person: Figure, objects: Sequence[Object]) -> bool:
  inside = (
    FIGURE_HALF_WIDTH < person.x <= CANVAS - FIGURE_HALF_WIDTH
    and FIGURE_HALF_HEIGHT < person.y <= CANVAS - FIGURE_HALF_HEIGHT
  )
  clear = all(_clear_of_figure(o, person) for o in objects)
  return inside and clear and _off_borders(person)
