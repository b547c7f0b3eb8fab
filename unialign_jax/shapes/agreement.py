"""Whether a verifier's reading and a scene say the same."""

import dataclasses

import numpy as np
from scipy import optimize

from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import verifier


@dataclasses.dataclass(frozen=True)
class Agreement:
  """One verdict an attribute; all but the last five need the right count.

  `position` is the relative position of every pair of shapes for which the
  scene has one.
  """

  count: bool
  shape: bool
  color: bool
  size: bool
  position: bool
  place: bool
  background: bool
  texture: bool
  figure: bool
  pose: bool

  def everything(self) -> bool:
    return all(dataclasses.astuple(self))


def agreement(reading: verifier.Reading, scene: scenes.Scene) -> Agreement:
  """Compares a reading to what a picture should show.

  Args:
    reading: result of `verifier.read`.
    scene: a scene in natural style.
  """
  pairs = _match(reading.objects, scene.objects)
  count = len(reading.objects) == len(scene.objects)
  return Agreement(
    count=count,
    shape=count and all(a.shape == b.shape for a, b in pairs),
    color=count and all(a.color == b.color for a, b in pairs),
    size=count and all(a.size == b.size for a, b in pairs),
    position=count and _same_relations(pairs),
    place=count
    and all(
      scenes.region(a.x, a.y) == scenes.region(b.x, b.y) for a, b in pairs
    ),
    background=reading.background == scene.background.color,
    texture=reading.texture == scene.background.texture,
    figure=(reading.figure is None) == (scene.figure is None),
    pose=_pose(reading) == (scene.figure.pose if scene.figure else ""),
  )


def _pose(reading: verifier.Reading) -> str:
  return reading.figure.pose if reading.figure else ""


def _match(
  seen: tuple[verifier.Observed, ...], meant: tuple[scenes.Object, ...]
) -> list[tuple[verifier.Observed, scenes.Object]]:
  """Pairs of the nearest, each shape used once."""
  if not seen or not meant:
    return []
  distance = np.asarray(
    [[np.hypot(a.x - b.x, a.y - b.y) for b in meant] for a in seen]
  )
  rows, columns = optimize.linear_sum_assignment(distance)
  return [(seen[i], meant[j]) for i, j in zip(rows, columns)]


def _same_relations(
  pairs: list[tuple[verifier.Observed, scenes.Object]],
) -> bool:
  for seen_a, a in pairs:
    for seen_b, b in pairs:
      wanted = scenes.relation(a, b)
      if wanted and scenes.relation(seen_a, seen_b) != wanted:
        return False
  return True
