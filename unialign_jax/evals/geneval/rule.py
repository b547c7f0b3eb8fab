"""GenEval's verdict on a picture, from the objects that were found in it.

Every clause of `include` must hold and none of `exclude` may. Numbers and
order of the checks are those of the official evaluate_images.py.
"""

import dataclasses
import itertools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

# Share of the summed sides of two boxes by which their centres must differ,
# and the least component of the offset, over its length, that is a relation.
_MARGIN = 0.1
_COMPONENT = 0.5
_NOTHING = 1e-3  # pixels
CONFIDENCE = 0.3
COUNTING_CONFIDENCE = 0.9
_MOST_OF_CLASS = 16


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Object:
  """Something that a detector found.

  Attributes:
    name: of its class, as GenEval has it.
    box: left, top, right, bottom in pixels.
    confidence: of the detector, 0 to 1.
    mask: bool [H, W] over the whole picture; None: the box is all there is.
  """

  name: str
  box: tuple[float, float, float, float]
  confidence: float
  mask: np.ndarray | None = None


Colors = Callable[[Sequence[Object], str], Sequence[str]]
Objects = Mapping[str, Sequence[Object]]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Whether the picture is right, and every reason why it is not."""

  correct: bool
  reason: str


def sure(objects: Sequence[Object], tag: str) -> dict[str, list[Object]]:
  """The objects that count, by class, the surest first.

  Args:
    objects: all that were found.
    tag: of the prompt; counting takes much surer ones than the others.
  """
  least = COUNTING_CONFIDENCE if tag == "counting" else CONFIDENCE
  by_class: dict[str, list[Object]] = {}
  for found in sorted(objects, key=lambda o: -o.confidence):
    if found.confidence > least:
      by_class.setdefault(found.name, []).append(found)
  return {name: kept[:_MOST_OF_CLASS] for name, kept in by_class.items()}


def judge(
  objects: Objects, metadata: Mapping[str, Any], colors: Colors
) -> Verdict:
  """The verdict.

  Args:
    objects: as `sure` gives them.
    metadata: the prompt's line.
    colors: names the colours of objects, given them and their class.
  """
  matched: list[Sequence[Object] | None] = []
  reasons = []
  for clause in metadata["include"]:
    found = objects.get(clause["class"], ())[: clause["count"]]
    reason = _unmet(clause, found, matched, colors)
    reasons += [reason] if reason else []
    matched.append(None if reason else found)
  for clause in metadata.get("exclude", ()):
    number = len(objects.get(clause["class"], ()))
    if number >= clause["count"]:
      reasons.append(
        f"{number} {clause['class']}, expected fewer than {clause['count']}"
      )
  return Verdict(not reasons, "\n".join(reasons))


def relations(a: Object, b: Object) -> set[str]:
  """How a lies to b: none, one, or two on a diagonal."""
  boxes = np.asarray([a.box, b.box], np.float64).reshape(2, 2, 2)
  centre_a, centre_b = boxes.mean(axis=1)
  sides = np.abs(boxes[:, 1] - boxes[:, 0]).sum(axis=0)
  offset = centre_a - centre_b
  beyond = np.maximum(np.abs(offset) - _MARGIN * sides, 0) * np.sign(offset)
  if np.all(np.abs(beyond) < _NOTHING):
    return set()
  dx, dy = beyond / np.linalg.norm(offset)
  holds = {
    "left of": dx < -_COMPONENT,
    "right of": dx > _COMPONENT,
    "above": dy < -_COMPONENT,
    "below": dy > _COMPONENT,
  }
  return {name for name, value in holds.items() if value}


def _unmet(
  clause: Mapping[str, Any],
  found: Sequence[Object],
  matched: Sequence[Sequence[Object] | None],
  colors: Colors,
) -> str:
  """Why a clause of `include` fails; "" where it holds."""
  name, count = clause["class"], clause["count"]
  if len(found) < count:
    return f"{len(found)} {name}, expected {count} or more"
  if "color" in clause:
    seen = list(colors(found, name))
    if seen.count(clause["color"]) < count:
      return f"{name} is {', '.join(seen)}, expected {clause['color']}"
  if "position" in clause:
    relation, target = clause["position"]
    others = matched[target]
    if others is None:
      return f"nothing that {name} could be {relation}"
    for one, other in itertools.product(found, others):
      if relation not in (true := relations(one, other)):
        return (
          f"{name} is {' and '.join(sorted(true)) or 'nowhere clear'},"
          f" expected {relation} {other.name}"
        )
  return ""
