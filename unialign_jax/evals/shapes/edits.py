"""Whether an edit was done, and whether all else stayed as it was.

Both scenes are known, so every attribute either had to change or had to stay.
The verifier reads the picture; each object that it sees is given to the place
of an object of either scene, and what no place explains is one too many.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import optimize

from unialign_jax.evals.shapes import styles
from unialign_jax.shapes import edits
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import verifier

_ATTRIBUTES = ("shape", "color", "size")
# Pixels from its place within which an object is the one that belongs there:
# the radius of a large one.
_NEAR = 12.0


class Verdict(NamedTuple):
  """Whether what was asked is there, and whether the rest is as before."""

  reached: bool
  kept: bool


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where an object was, or is to be, or both."""

  x: int
  y: int
  old: scenes.Object | None
  new: scenes.Object | None


def judge(picture: np.ndarray, edit: edits.Edit) -> Verdict:
  """Reads a picture that should show `edit.target`.

  Args:
    picture: uint8 [64, 64, 3].
    edit: what was asked.
  """
  if edit.target.style != edit.source.style:
    return Verdict(*styles.judge(picture, edit.target))
  checks = _checks(verifier.read(picture), edit)
  return Verdict(
    reached=all(right for changes, right in checks if changes),
    kept=all(right for changes, right in checks if not changes),
  )


def _checks(
  reading: verifier.Reading, edit: edits.Edit
) -> list[tuple[bool, bool]]:
  """(whether it had to change, whether it is right) of every attribute."""
  places = _places(edit)
  seen = _assign(reading.objects, places)
  checks = [(False, len(seen) == len(reading.objects))]
  for number, place in enumerate(places):
    checks += _object_checks(place, seen.get(number))
  old, new = edit.source, edit.target
  for name, got in (
    ("color", reading.background),
    ("texture", reading.texture),
  ):
    was, wanted = (getattr(s.background, name) for s in (old, new))
    checks.append((was != wanted, got == wanted))
  was, wanted = (getattr(s.figure, "pose", "") for s in (old, new))
  checks.append((was != wanted, getattr(reading.figure, "pose", "") == wanted))
  if bool(was) == bool(wanted):
    checks.append((False, (reading.figure is not None) == bool(wanted)))
  return checks


def _object_checks(
  place: _Place, seen: verifier.Observed | None
) -> list[tuple[bool, bool]]:
  old, new = place.old, place.new
  if new is None:
    return [(True, seen is None)]
  if seen is None:
    return [(old is None or old != new, False), (old is None, False)]
  same_region = scenes.region(seen.x, seen.y) == scenes.region(new.x, new.y)
  checks = [(old is None, same_region)]
  for name in _ATTRIBUTES:
    wanted = getattr(new, name)
    changes = old is None or getattr(old, name) != wanted
    checks.append((changes, getattr(seen, name) == wanted))
  return checks


def _places(edit: edits.Edit) -> list[_Place]:
  """Edits move nothing: objects of one centre are one object, changed."""
  olds = {(o.x, o.y): o for o in edit.source.objects}
  news = {(o.x, o.y): o for o in edit.target.objects}
  return [
    _Place(*centre, olds.get(centre), news.get(centre))
    for centre in dict.fromkeys([*olds, *news])
  ]


def _assign(
  seen: tuple[verifier.Observed, ...], places: list[_Place]
) -> dict[int, verifier.Observed]:
  """What is seen near each place, by the place's number."""
  if not seen or not places:
    return {}
  distance = np.asarray(
    [[np.hypot(o.x - p.x, o.y - p.y) for p in places] for o in seen]
  )
  # Nothing is gained by a pair that is too far apart to be one.
  rows, columns = optimize.linear_sum_assignment(np.minimum(distance, _NEAR))
  return {
    int(j): seen[i] for i, j in zip(rows, columns) if distance[i, j] < _NEAR
  }
