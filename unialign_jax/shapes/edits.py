"""The nine kinds of edit of ImgEdit-Bench, as exact changes of a scene.

A step takes a scene, changes one thing and says so in words; everything else
stays where it is. Steps that change a shape get it from outside, so that a
hybrid edit can apply two of them to two shapes.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from unialign_jax.shapes import language
from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes

KINDS = (
  "add",
  "adjust",
  "extract",
  "replace",
  "remove",
  "background",
  "style",
  "hybrid",
  "action",
)
_HYBRID_KINDS = ("add", "adjust", "replace", "remove", "background")
# Steps that leave nothing, or nothing to leave out, on a single shape.
_NEEDS_TWO = ("remove", "extract")

# (changed scene, instruction), or None where the step is not possible.
Change = tuple[scenes.Scene, str] | None


@dataclasses.dataclass(frozen=True)
class Edit:
  """One edit; `instruction` turns `source` into `target`."""

  kind: str
  source: scenes.Scene
  target: scenes.Scene
  instruction: str


def requirements(kind: str) -> dict[str, float]:
  """Arguments of `scene.sample_scene` that make an edit of a kind likely."""
  if kind == "action":
    return {"figure": 1.0, "max_objects": scenes.MAX_OBJECTS_WITH_FIGURE}
  return {"min_objects": 2} if kind in _NEEDS_TWO else {}


def edit(
  kind: str, source: scenes.Scene, rng: np.random.Generator
) -> Edit | None:
  """A random edit of a kind, or None where this scene does not admit it.

  Raises:
    ValueError: unknown kind.
  """
  if kind not in KINDS:
    raise ValueError(f"unknown kind of edit {kind!r}, expected one of {KINDS}")
  change = (
    _hybrid(source, rng)
    if kind == "hybrid"
    else _STEPS[kind](source, _any_object(source, rng), rng)
  )
  if change is None or not scenes.is_valid(change[0]):
    return None
  return Edit(kind, source, *change)


def _any_object(
  scene: scenes.Scene, rng: np.random.Generator
) -> scenes.Object | None:
  """A shape that can be named, if there is one."""
  named = [o for o in scene.objects if language.refer(o, scene)]
  return named[rng.integers(len(named))] if named else None


def _swap(
  scene: scenes.Scene, old: scenes.Object, new: scenes.Object | None
) -> scenes.Scene:
  """The scene with one shape replaced, or gone."""
  kept = [o for o in scene.objects if o != old]
  objects = scenes.arrange(kept if new is None else [*kept, new])
  return dataclasses.replace(scene, objects=objects)


def _fill(
  rng: np.random.Generator, templates: tuple[str, ...], **words: str
) -> str:
  return language.pick(rng, templates).format(**words)


def _add(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  """A kind that the scene lacks, in the middle of a free region."""
  if len(scene.objects) == scenes.MAX_OBJECTS:
    return None
  shape = language.pick(rng, scenes.SHAPES)
  color = language.pick(rng, scenes.COLORS)
  size = language.pick(rng, scenes.SIZES)
  if any((o.shape, o.color) == (shape, color) for o in scene.objects):
    return None
  cells = scenes.REGION_CENTERS
  for cell in rng.permutation(len(cells) ** 2):
    row, column = divmod(int(cell), len(cells))
    new = _centred(shape, color, size, cells[column], cells[row])
    changed = dataclasses.replace(
      scene, objects=scenes.arrange([*scene.objects, new])
    )
    apart = not any(scenes.touches(new, o) for o in scene.objects)
    if apart and scenes.is_valid(changed):
      name = language.with_article(language.noun(new, size=True))
      words = {"new": name, "place": language.place(new)}
      return changed, _fill(rng, phrases.ADD, **words)
  return None


def _centred(
  shape: str, color: str, size: str, x: int, y: int
) -> scenes.Object:
  """A shape in the middle of a region, as far as the canvas allows."""
  margin = int(scenes.REACH[shape] * scenes.RADIUS[size]) + 2
  x, y = (int(np.clip(v, margin, scenes.CANVAS - margin)) for v in (x, y))
  return scenes.Object(shape, color, size, x, y)


def _adjust(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  """Another colour or the other size."""
  if item is None:
    return None
  name = language.refer(item, scene)
  if rng.random() < 0.5:
    color = language.pick(rng, [c for c in scenes.COLORS if c != item.color])
    new = dataclasses.replace(item, color=color)
    words = _fill(rng, phrases.RECOLOR, item=name, color=color)
  else:
    grows = item.size == "small"
    new = dataclasses.replace(item, size="large" if grows else "small")
    words = _fill(rng, phrases.GROW if grows else phrases.SHRINK, item=name)
  return _swap(scene, item, new), words


def _extract(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  """One shape alone, in its place, on plain white."""
  if item is None:
    return None
  words = _fill(rng, phrases.EXTRACT, item=language.refer(item, scene))
  return scenes.Scene((item,)), words


def _replace(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  """Another shape and another colour, in the same place and size."""
  if item is None:
    return None
  shape = language.pick(rng, [s for s in scenes.SHAPES if s != item.shape])
  color = language.pick(rng, [c for c in scenes.COLORS if c != item.color])
  new = dataclasses.replace(item, shape=shape, color=color)
  words = _fill(
    rng,
    phrases.REPLACE,
    item=language.refer(item, scene),
    new=language.with_article(language.noun(new)),
  )
  return _swap(scene, item, new), words


def _remove(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  if item is None or len(scene.objects) < 2:
    return None
  words = _fill(rng, phrases.REMOVE, item=language.refer(item, scene))
  return _swap(scene, item, None), words


def _background(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  background = scenes.sample_background(rng)
  if background == scene.background:
    return None
  words = _fill(rng, phrases.GROUND, ground=language.ground(background))
  return dataclasses.replace(scene, background=background), words


def _style(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  style = language.pick(rng, phrases.STYLE_NAMES)
  words = _fill(rng, phrases.STYLE, style=phrases.STYLE_NAMES[style])
  return dataclasses.replace(scene, style=style), words


def _action(
  scene: scenes.Scene, item: scenes.Object | None, rng: np.random.Generator
) -> Change:
  if scene.figure is None:
    return None
  pose = language.pick(rng, [p for p in scenes.POSES if p != scene.figure.pose])
  figure = dataclasses.replace(scene.figure, pose=pose)
  words = _fill(rng, phrases.ACTION, act=phrases.ACTS[pose])
  return dataclasses.replace(scene, figure=figure), words


def _hybrid(source: scenes.Scene, rng: np.random.Generator) -> Change:
  """Two steps of two kinds, on two different shapes where both need one."""
  first, second = (
    _STEPS[_HYBRID_KINDS[i]]
    for i in rng.choice(len(_HYBRID_KINDS), size=2, replace=False)
  )
  named = [o for o in source.objects if language.refer(o, source)]
  items = [named[i] for i in rng.permutation(len(named))] + [None, None]
  change = first(source, items[0], rng)
  if change is None:
    return None
  between, words = change
  item = items[1]
  # Both halves are read against the source, so a name must not change its
  # meaning on the way.
  if item is not None and (
    language.refer(item, between) != language.refer(item, source)
  ):
    return None
  change = second(between, item, rng)
  if change is None:
    return None
  return change[0], phrases.BOTH.format(first=words, second=change[1])


_STEPS: dict[str, Callable[..., Change]] = {
  "add": _add,
  "adjust": _adjust,
  "extract": _extract,
  "replace": _replace,
  "remove": _remove,
  "background": _background,
  "style": _style,
  "action": _action,
}
