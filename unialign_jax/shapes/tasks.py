"""Every task of the paper as exact samples of the Shapes world.

`make` draws scenes, renders them and writes the texts. All of it is a
function of the random generator it gets.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from unialign_jax.data import sample as samples
from unialign_jax.shapes import edits
from unialign_jax.shapes import language
from unialign_jax.shapes import maps
from unialign_jax.shapes import phrases
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

LICENSE = "CC0-1.0"
CAPTION_SOURCE = "scene"
# Tokens of "Q: " and " A: " around a question, spelled letter by letter.
_FRAME_TOKENS = 6
_MAX_TRIES = 10_000


@dataclasses.dataclass(frozen=True)
class World:
  """What scenes are drawn and how long texts may be.

  Attributes:
    weights: relative frequency of 1, 2, 3 and 4 shapes.
    textured: probability of a background with a pattern.
    figure: probability of a stick figure next to one or two shapes.
    overlap: probability that shapes may cover one another in part.
    repeat: probability that all shapes have one kind.
    jitter: how far a shape may lie from the middle of a region; None:
      anywhere.
    detail: probability that a text names every size, colour and place and the
      background; otherwise it may leave any of them out.
    max_tokens: most words plus punctuation marks in a text, without its end
      token; a question counts with its answer. 0 is no limit.
    size: side of the pictures in pixels.
  """

  weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
  textured: float = 0.5
  figure: float = 0.15
  overlap: float = 0.3
  repeat: float = 0.15
  jitter: int | None = None
  detail: float = 0.0
  max_tokens: int = 0
  size: int = scenes.CANVAS


@dataclasses.dataclass(frozen=True)
class _Draft:
  """A sample but for its key: what the makers below return."""

  kind: str
  scene: scenes.Scene
  target: np.ndarray
  conditions: tuple[np.ndarray, ...]
  instruction: str
  caption: str
  question: str = ""


def make(
  task: str,
  rng: np.random.Generator,
  *,
  key: str = "0",
  split: str = "",
  kind: str = "",
  world: World | None = None,
) -> samples.Sample:
  """One sample of a task.

  Args:
    task: one of `sample.TASKS`.
    rng: the only source of randomness.
    key: name of the sample.
    split: "train", "validation" or "test": every scene that the sample shows
      belongs to it. "" takes any.
    kind: for an edit one of `edits.KINDS`, for perception one of
      `maps.KINDS`; "" draws one.
    world: what to draw, `World()` by default.

  Returns:
    A sample whose source reads "shapes/{task}/{kind}" and whose scene is the
    JSON of what the target shows (of what it was made from, for a map).

  Raises:
    ValueError: an unknown task or kind, or options that no scene can meet.
  """
  if task not in _MAKERS:
    raise ValueError(f"unknown task {task!r}, expected one of {samples.TASKS}")
  _check_kind(task, kind)
  painter = Painter(rng, split, world or World())
  for _ in range(_MAX_TRIES):
    draft = _MAKERS[task](painter, kind)
    if draft is not None and painter.short_enough(draft):
      return samples.Sample(
        key=key,
        task=task,
        source=f"shapes/{task}/{draft.kind}",
        license=LICENSE,
        caption_source=CAPTION_SOURCE,
        target_image=draft.target,
        cond_images=draft.conditions,
        instruction=draft.instruction,
        caption=draft.caption,
        question=draft.question,
        scene=draft.scene.to_json(),
      )
  raise ValueError(
    f"no {task!r} sample of kind {kind!r} found in {_MAX_TRIES} tries;"
    f" relax {painter.world}"
  )


def _check_kind(task: str, kind: str) -> None:
  known = {"edit": edits.KINDS, "perception": maps.KINDS}.get(task, ())
  if kind and kind not in known:
    raise ValueError(
      f"task {task!r} has no kind {kind!r}, expected one of {known or ('',)}"
    )


class Painter:
  """Random scenes of one split and their pictures and texts.

  Args:
    rng: the only source of randomness.
    split: "train", "validation" or "test"; "" takes any scene.
    world: what is drawn.
  """

  def __init__(
    self, rng: np.random.Generator, split: str, world: World
  ) -> None:
    self.rng = rng
    self.split = split
    self.world = world

  def accepts(self, scene: scenes.Scene) -> bool:
    return not self.split or scenes.split(scene) == self.split

  def scene(self, **changes: Any) -> scenes.Scene:
    """A scene of the split; `changes` override the world's options."""
    world = self.world
    options = {
      "weights": world.weights,
      "textured": world.textured,
      "figure": world.figure,
      "overlap": world.overlap,
      "repeat": world.repeat,
      "jitter": world.jitter,
    } | changes
    while True:
      scene = scenes.sample_scene(self.rng, **options)
      if self.accepts(scene):
        return scene

  def picture(self, scene: scenes.Scene) -> np.ndarray:
    return render.render(scene, self.world.size)

  def caption(self, scene: scenes.Scene) -> str:
    world = self.world
    return language.caption(scene, self.rng, world.max_tokens, world.detail)

  def edit(self, kind: str) -> edits.Edit | None:
    """An edit whose two scenes are of the split, or None."""
    source = self.scene(**edits.requirements(kind))
    # Several tries on one source: most targets belong to another split.
    for _ in range(10):
      edit = edits.edit(kind, source, self.rng)
      if edit is not None and self.accepts(edit.target):
        return edit
    return None

  def fits(self, text: str, question: str = "") -> bool:
    """Whether a text, or a question with its answer, is short enough."""
    length = language.count_tokens(text)
    if question:
      length += language.count_tokens(question) + _FRAME_TOKENS
    return not self.world.max_tokens or length <= self.world.max_tokens

  def short_enough(self, draft: _Draft) -> bool:
    return self.fits(draft.caption, draft.question) and self.fits(
      draft.instruction
    )


def _text_to_image(painter: Painter, kind: str) -> _Draft:
  scene = painter.scene()
  text = painter.caption(scene)
  return _Draft("caption", scene, painter.picture(scene), (), text, text)


def _edit(painter: Painter, kind: str) -> _Draft | None:
  kind = kind or language.pick(painter.rng, edits.KINDS)
  edit = painter.edit(kind)
  if edit is None:
    return None
  return _Draft(
    kind,
    edit.target,
    painter.picture(edit.target),
    (painter.picture(edit.source),),
    edit.instruction,
    painter.caption(edit.target),
  )


def _perception(painter: Painter, kind: str) -> _Draft:
  kind = kind or language.pick(painter.rng, maps.KINDS)
  needs = {"figure": 1.0, "max_objects": scenes.MAX_OBJECTS_WITH_FIGURE}
  scene = painter.scene(**(needs if kind == "pose" else {}))
  picture = painter.picture(scene)
  items = language.inventory(scene, painter.rng, color=False)
  if kind == "canny":
    target, templates = maps.canny(picture), phrases.CANNY
    caption = phrases.EDGES_CAPTION.format(items=items)
  elif kind == "depth":
    target, templates = maps.depth(scene, painter.world.size), phrases.DEPTH
    caption = phrases.DEPTH_CAPTION.format(items=items)
  else:
    target, templates = maps.pose(scene, painter.world.size), phrases.POSE
    items = language.person(scene.figure)
    caption = phrases.POSE_CAPTION.format(items=items)
  instruction = language.pick(painter.rng, templates)
  return _Draft(kind, scene, target, (picture,), instruction, caption)


def _personalise(painter: Painter, kind: str) -> _Draft | None:
  return _with_subjects(painter, (phrases.SUBJECT,))


def _personalise_multi(painter: Painter, kind: str) -> _Draft | None:
  return _with_subjects(painter, phrases.SUBJECTS)


def _with_subjects(painter: Painter, names: tuple[str, ...]) -> _Draft | None:
  """The subjects come from the target, each alone in a picture of its own."""
  scene = painter.scene(min_objects=len(names), repeat=0.0)
  order = painter.rng.permutation(len(scene.objects))
  subjects = [scene.objects[i] for i in order[: len(names)]]
  others = tuple(scene.objects[i] for i in order[len(names) :])
  conditions = tuple(painter.picture(_portrait(painter, s)) for s in subjects)
  # The subjects have no words for what they look like: that is in the
  # pictures.
  items = [f"{name} {language.place(s)}" for name, s in zip(names, subjects)]
  rest = dataclasses.replace(scene, objects=others)
  items += language.elements(rest, painter.rng)
  instruction = language.pick(painter.rng, phrases.PERSONALISE).format(
    items=language.listing(items),
    ground=language.ground(scene.background),
  )
  return _Draft(
    "subject" if len(names) == 1 else "subjects",
    scene,
    painter.picture(scene),
    conditions,
    instruction,
    painter.caption(scene),
  )


def _portrait(painter: Painter, subject: scenes.Object) -> scenes.Scene:
  """The subject alone, somewhere on any background, in the same split."""
  while True:
    x, y = (int(v) for v in painter.rng.integers(scenes.CANVAS, size=2))
    background = scenes.sample_background(painter.rng, painter.world.textured)
    alone = (dataclasses.replace(subject, x=x, y=y),)
    scene = scenes.Scene(alone, background)
    if scenes.is_valid(scene) and painter.accepts(scene):
      return scene


def _understanding(painter: Painter, kind: str) -> _Draft:
  scene = painter.scene()
  picture = painter.picture(scene)
  prompt = painter.caption(scene)
  if painter.rng.random() < 0.5:
    text = painter.caption(scene)
    return _Draft("caption", scene, picture, (), prompt, text)
  pairs = language.question_answers(scene, painter.rng)
  question, answer = pairs[painter.rng.integers(len(pairs))]
  return _Draft("question", scene, picture, (), prompt, answer, question)


_MAKERS: dict[str, Callable[[Painter, str], _Draft | None]] = {
  "text_to_image": _text_to_image,
  "edit": _edit,
  "perception": _perception,
  "personalise": _personalise,
  "personalise_multi": _personalise_multi,
  "understanding": _understanding,
}
