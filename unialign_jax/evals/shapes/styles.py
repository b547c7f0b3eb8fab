"""Pictures in a style, which hides the hues that the verifier reads.

They are read by synthesis instead: of all that could be in a place, the
rendering that is nearest to the picture is what the picture shows.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

# An object too many, as the verifier would see one: so many levels of 255
# apart, so large and so thick, and so far from what should be there.
_LEVELS, _AREA, _THICKNESS, _AWAY = 40, 28, 1.5, 3
# Levels by which an object must differ from what is behind it to be read.
_CONTRAST = 20
# Styles that show hues, though not always as they were.
_COLORED = ("natural", "negative")


def judge(picture: np.ndarray, target: scenes.Scene) -> tuple[bool, bool]:
  """Whether a picture has the style, and whether it has the scene.

  Args:
    picture: uint8 [64, 64, 3].
    target: the scene in the style that was asked for.

  Returns:
    (style, scene), each for itself. The scene is right where every object is
    nearest to its shape and size among all shapes and sizes and none (and to
    its colour, where the style shows hues), the figure to its pose among all
    poses and none, the background to its pattern, and where nothing as large as
    an object is elsewhere.
  """
  seen = picture.astype(np.float32)
  styled = [dataclasses.replace(target, style=s) for s in scenes.STYLES]
  found = styled[_nearest(seen, styled)]
  return found.style == target.style, _has_scene(seen, found)


def is_readable(scene: scenes.Scene) -> bool:
  """Whether every object stands out in its style: yellow on beige is grey."""
  picture = render.render(scene).astype(np.float32)
  for item in scene.objects:
    rest = tuple(other for other in scene.objects if other is not item)
    without = render.render(dataclasses.replace(scene, objects=rest))
    apart = np.abs(picture - without).max(axis=-1)
    if apart.max() < _CONTRAST:
      return False
  return True


def _has_scene(seen: np.ndarray, scene: scenes.Scene) -> bool:
  choices = [_objects_instead(scene, i) for i in range(len(scene.objects))]
  choices += [_figures_instead(scene), _patterns_instead(scene)]
  # The true one comes first.
  if any(_nearest(seen, [scene, *others]) for others in choices):
    return False
  apart = np.abs(seen - render.render(scene)).max(axis=-1) > _LEVELS
  return not _has_blob(apart & ~_elements(scene))


def _elements(scene: scenes.Scene) -> np.ndarray:
  """bool [64, 64]: where objects and figure are, and around them."""
  covered = np.zeros((scenes.CANVAS, scenes.CANVAS), bool)
  for item in scene.objects:
    covered |= render.object_coverage(item) > 0
  if scene.figure is not None:
    covered |= render.figure_coverage(scene.figure) > 0
  return ndimage.binary_dilation(covered, iterations=_AWAY)


def _nearest(seen: np.ndarray, candidates: Sequence[scenes.Scene]) -> int:
  errors = [
    float(np.square(seen - render.render(scene)).sum()) for scene in candidates
  ]
  return int(np.argmin(errors))


def _objects_instead(scene: scenes.Scene, number: int) -> list[scenes.Scene]:
  """The scene with another shape or size in a place, or nothing there."""
  old = scene.objects[number]
  forms = itertools.product(scenes.SHAPES, scenes.SIZES)
  others = [
    dataclasses.replace(old, shape=shape, size=size)
    for shape, size in forms
    if (shape, size) != (old.shape, old.size)
  ]
  if scene.style in _COLORED:
    colors = [color for color in scenes.COLORS if color != old.color]
    others += [dataclasses.replace(old, color=color) for color in colors]
  before, after = scene.objects[:number], scene.objects[number + 1 :]
  return [
    dataclasses.replace(scene, objects=(*before, *instead, *after))
    for instead in [*([other] for other in others), []]
  ]


def _figures_instead(scene: scenes.Scene) -> list[scenes.Scene]:
  if scene.figure is None:
    return []
  others = [
    dataclasses.replace(scene.figure, pose=pose)
    for pose in scenes.POSES
    if pose != scene.figure.pose
  ]
  return [dataclasses.replace(scene, figure=f) for f in [*others, None]]


def _patterns_instead(scene: scenes.Scene) -> list[scenes.Scene]:
  return [
    dataclasses.replace(
      scene, background=dataclasses.replace(scene.background, texture=texture)
    )
    for texture in scenes.TEXTURES
    if texture != scene.background.texture
  ]


def _has_blob(apart: np.ndarray) -> bool:
  pieces, count = ndimage.label(apart)
  for number in range(1, count + 1):
    piece = pieces == number
    if piece.sum() >= _AREA:
      depth = ndimage.distance_transform_edt(np.pad(piece, 1)).max()
      if depth >= _THICKNESS:
        return True
  return False
