"""GenEval on the Shapes world: prompts, and the verdict on a picture.

The six tasks and the rules are GenEval's (Ghosh et al., 2023): every
`include` clause must hold and no `exclude` clause may. The detector is the
classical verifier, and the classes are the shapes.
"""

import dataclasses
import itertools
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np

from unialign_jax.shapes import language
from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import semantics
from unialign_jax.shapes import verifier

TAGS = (
  "single_object",
  "two_object",
  "counting",
  "colors",
  "position",
  "color_attr",
)
# GenEval's: share of the summed box sides by which centres must differ, and
# the least component of the normalised offset.
_POSITION_MARGIN = 0.1
_POSITION_COMPONENT = 0.5


@dataclasses.dataclass(frozen=True)
class Verdict:
  correct: bool
  reason: str = ""


def prompts(per_tag: int, seed: int = 0) -> list[dict[str, Any]]:
  """GenEval metadata over the Shapes vocabulary.

  Args:
    per_tag: most prompts for one task; a task with fewer (6 shapes, 15
      pairs, ...) gives them all.
    seed: which prompts are taken, and their order.

  Returns:
    Dicts with `tag`, `prompt`, `include` and, for counting, `exclude`, in
    the order of `TAGS`.
  """
  rng = np.random.default_rng(seed)
  chosen = []
  for tag in TAGS:
    items = _ALL_PROMPTS[tag]()
    keep = rng.permutation(len(items))[:per_tag]
    chosen += [{"tag": tag} | items[i] for i in keep]
  return chosen


def score(image: np.ndarray, metadata: Mapping[str, Any]) -> Verdict:
  """Whether a picture shows what its prompt asks.

  Args:
    image: uint8 [64, 64, 3].
    metadata: one of `prompts`.
  """
  return judge(verifier.read(image), metadata)


def judge(reading: verifier.Reading, metadata: Mapping[str, Any]) -> Verdict:
  """`score` for a picture that is already read."""
  taken: list[list[verifier.Observed]] = []
  reasons = []
  for clause in metadata["include"]:
    seen = _of_class(reading, clause["class"])[: clause["count"]]
    taken.append(seen)
    reasons += _unmet(seen, clause, taken)
  for clause in metadata.get("exclude", ()):
    number = len(_of_class(reading, clause["class"]))
    if number >= clause["count"]:
      reasons.append(f"{number} {clause['class']}, expected fewer than"
                     f" {clause['count']}")  # fmt: skip
  return Verdict(not reasons, "; ".join(reasons))


def overall(
  results: Iterable[tuple[str, bool]],
) -> tuple[float, dict[str, float]]:
  """GenEval's overall score and its parts.

  Args:
    results: (tag, correct) of every picture.

  Returns:
    The unweighted mean of the six tags' shares, and the shares.

  Raises:
    ValueError: a tag without any picture, or an unknown one.
  """
  by_tag: dict[str, list[bool]] = {tag: [] for tag in TAGS}
  for tag, correct in results:
    if tag not in by_tag:
      raise ValueError(f"unknown tag {tag!r}, expected one of {TAGS}")
    by_tag[tag].append(correct)
  empty = [tag for tag, values in by_tag.items() if not values]
  if empty:
    raise ValueError(
      f"no pictures for {empty}; the overall score needs all of {TAGS}"
    )
  shares = {tag: float(np.mean(values)) for tag, values in by_tag.items()}
  return float(np.mean(list(shares.values()))), shares


def relations(a: verifier.Observed, b: verifier.Observed) -> set[str]:
  """How a lies to b by GenEval's rule; two relations on a diagonal."""
  offset = np.asarray((a.x - b.x, a.y - b.y))
  slack = _POSITION_MARGIN * 2 * (a.reach + b.reach)
  beyond = np.maximum(np.abs(offset) - slack, 0.0) * np.sign(offset)
  if not beyond.any():
    return set()
  dx, dy = beyond / np.linalg.norm(offset)
  holds = {
    "left of": dx < -_POSITION_COMPONENT,
    "right of": dx > _POSITION_COMPONENT,
    "above": dy < -_POSITION_COMPONENT,
    "below": dy > _POSITION_COMPONENT,
  }
  return {name for name, value in holds.items() if value}


def score_caption(caption: str, scene: scenes.Scene) -> Verdict:
  """Whether a caption names just the shapes and colours of a scene.

  Every shape must be mentioned, in its number and with its colour, and no
  other. Sizes and places are not judged.
  """
  said: list[tuple[str, str]] = []
  for number, color, _, shape in semantics.mentions(caption):
    said += [(color, shape)] * number
  meant = [(o.color, o.shape) for o in scene.objects]
  missing, extra = _difference(meant, said), _difference(said, meant)
  reasons = [f"does not name {_named(*pair)}" for pair in missing]
  reasons += [f"names {_named(*pair)}" for pair in extra]
  return Verdict(not reasons, "; ".join(reasons))


def _named(color: str, shape: str) -> str:
  return language.with_article(f"{color} {shape or 'something'}".strip())


def _difference(
  first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> list[tuple[str, str]]:
  """What the first list has more of."""
  rest = list(second)
  surplus = []
  for item in first:
    if item in rest:
      rest.remove(item)
    else:
      surplus.append(item)
  return surplus


def _of_class(reading: verifier.Reading, shape: str) -> list[verifier.Observed]:
  """Shapes of a class, the best seen first."""
  seen = [o for o in reading.objects if o.shape == shape]
  return sorted(seen, key=lambda o: -o.fit)


def _unmet(
  seen: list[verifier.Observed],
  clause: Mapping[str, Any],
  taken: list[list[verifier.Observed]],
) -> list[str]:
  """Reasons why an include clause fails, in GenEval's order."""
  shape, count = clause["class"], clause["count"]
  if len(seen) < count:
    return [f"{len(seen)} {shape}, expected {count}"]
  color = clause.get("color")
  if color and sum(o.color == color for o in seen) < count:
    colors = ", ".join(o.color for o in seen)
    return [f"{shape} is {colors}, expected {color}"]
  if "position" in clause:
    relation, target = clause["position"]
    if not taken[target]:
      return [f"nothing that {shape} could be {relation}"]
    for a, b in itertools.product(seen, taken[target]):
      if relation not in relations(a, b):
        return [f"{shape} is not {relation} {b.shape}"]
  return []


def _clause(shape: str, count: int = 1, **more: Any) -> dict[str, Any]:
  return {"class": shape, "count": count} | more


def _single_objects() -> list[dict[str, Any]]:
  return [
    {"prompt": language.with_article(s), "include": [_clause(s)]}
    for s in scenes.SHAPES
  ]


def _two_objects() -> list[dict[str, Any]]:
  return [
    {
      "prompt": language.listing([language.with_article(s) for s in pair]),
      "include": [_clause(s) for s in pair],
    }
    for pair in itertools.combinations(scenes.SHAPES, 2)
  ]


def _countings() -> list[dict[str, Any]]:
  return [
    {
      "prompt": f"{phrases.NUMBERS[count]} {phrases.PLURALS[shape]}",
      "include": [_clause(shape, count)],
      "exclude": [_clause(shape, count + 1)],
    }
    for count in (2, 3, 4)
    for shape in scenes.SHAPES
  ]


def _colors() -> list[dict[str, Any]]:
  return [
    {
      "prompt": language.with_article(f"{color} {shape}"),
      "include": [_clause(shape, color=color)],
    }
    for color in scenes.COLORS
    for shape in scenes.SHAPES
  ]


def _positions() -> list[dict[str, Any]]:
  """The first clause is the target, as in GenEval's files."""
  return [
    {
      "prompt": phrases.RELATION_CAPTION.format(
        first=language.with_article(first),
        relation=relation,
        second=language.with_article(second),
      ),
      "include": [_clause(second), _clause(first, position=[relation, 0])],
    }
    for first, second in itertools.permutations(scenes.SHAPES, 2)
    for relation in phrases.RELATIONS
  ]


def _color_attributes() -> list[dict[str, Any]]:
  """Two shapes, two colours."""
  return [
    {
      "prompt": language.listing(
        [language.with_article(f"{c} {s}") for c, s in zip(colors, shapes)]
      ),
      "include": [_clause(s, color=c) for c, s in zip(colors, shapes)],
    }
    for shapes in itertools.combinations(scenes.SHAPES, 2)
    for colors in itertools.permutations(scenes.COLORS, 2)
  ]


_ALL_PROMPTS = {
  "single_object": _single_objects,
  "two_object": _two_objects,
  "counting": _countings,
  "colors": _colors,
  "position": _positions,
  "color_attr": _color_attributes,
}
