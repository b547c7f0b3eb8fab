"""Pictures to be drawn: prompts, edits, maps, subjects.

GenEval's prompts are lists of shapes and hold nothing out.
"""

import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.evals.shapes import edits as edit_marks
from unialign_jax.evals.shapes import items
from unialign_jax.evals.shapes import perception
from unialign_jax.evals.shapes import rows
from unialign_jax.evals.shapes import styles
from unialign_jax.shapes import agreement
from unialign_jax.shapes import edits
from unialign_jax.shapes import geneval
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import tasks
from unialign_jax.shapes import verifier

# Pictures of a prompt, as GenEval has it.
_PER_PROMPT = 4


@functools.lru_cache(maxsize=8)
def drawn(
  ability: str, samples: int, seed: int, world: str
) -> tuple[items.Drawn, ...]:
  """All pictures of an ability.

  Args:
    ability: of `rows.ABILITIES`.
    samples: pictures of each row; of a GenEval task at most, as it may have
      fewer prompts.
    seed: of everything.
    world: of `feature_sets.WORLDS`.
  """
  if ability == "generation":
    return tuple(_prompts(samples, seed))
  return tuple(
    _DRAWN[ability](row, index, painter)
    for row in rows.of(ability)
    for index, painter in items.painters(row, samples, seed, world)
  )


def _prompts(samples: int, seed: int) -> Iterator[items.Drawn]:
  found = geneval.prompts(-(-samples // _PER_PROMPT), seed)
  for row, tag in zip(rows.of("generation"), geneval.TAGS):
    prompts = [prompt for prompt in found if prompt["tag"] == tag]
    for index in range(min(len(prompts) * _PER_PROMPT, samples)):
      unit = index // _PER_PROMPT
      prompt = prompts[unit]
      yield items.Drawn(
        row=row,
        index=index,
        text=prompt["prompt"],
        mark=functools.partial(_mark_prompt, prompt),
        prompt=prompt,
        unit=unit,
      )


def _mark_prompt(prompt: Mapping, picture: np.ndarray) -> items.Marks:
  return {rows.SCORE: float(geneval.score(picture, prompt).correct)}


def _edit(row: str, index: int, painter: tasks.Painter) -> items.Drawn:
  kind = rows.kind(row)
  while True:
    edit = painter.edit(kind)
    if edit is None or not painter.fits(edit.instruction):
      continue
    if kind != "style" or styles.is_readable(edit.target):
      break
  return items.Drawn(
    row=row,
    index=index,
    text=edit.instruction,
    conditions=(painter.picture(edit.source),),
    mark=functools.partial(_mark_edit, edit),
    target=painter.picture(edit.target),
    unit=index,
  )


def _mark_edit(edit: edits.Edit, picture: np.ndarray) -> items.Marks:
  verdict = edit_marks.judge(picture, edit)
  return {
    rows.SCORE: float(verdict.reached and verdict.kept),
    rows.DONE: float(verdict.reached),
    rows.KEPT: float(verdict.kept),
  }


def _map(row: str, index: int, painter: tasks.Painter) -> items.Drawn:
  kind = rows.kind(row)
  sample = _sample(painter, "perception", kind)
  return _of_sample(row, index, sample, functools.partial(_MAPS[kind], sample))


def _mark_canny(sample: sample_lib.Sample, picture: np.ndarray) -> items.Marks:
  return {rows.SCORE: perception.canny_f1(picture, sample.target_image)}


def _mark_depth(sample: sample_lib.Sample, picture: np.ndarray) -> items.Marks:
  found = perception.depth(picture, sample.target_image)
  return {rows.SCORE: found.accuracy, rows.ERROR: found.error}


def _mark_pose(sample: sample_lib.Sample, picture: np.ndarray) -> items.Marks:
  figure = scenes.Scene.from_json(sample.scene).figure
  return {rows.SCORE: perception.pose_pck(picture, figure)}


def _subject(row: str, index: int, painter: tasks.Painter) -> items.Drawn:
  while True:
    sample = _sample(painter, rows.kind(row))
    scene = scenes.Scene.from_json(sample.scene)
    found = [_portrayed(image, scene) for image in sample.cond_images]
    if all(len(objects) == 1 for objects in found):
      subjects = [objects[0] for objects in found]
      mark = functools.partial(_mark_subjects, subjects, scene)
      return _of_sample(row, index, sample, mark)


def _portrayed(
  portrait: np.ndarray, scene: scenes.Scene
) -> list[scenes.Object]:
  """The objects of a scene that a portrait may be of."""
  (seen,) = verifier.read(portrait).objects
  return [
    item
    for item in scene.objects
    if (item.shape, item.color) == (seen.shape, seen.color)
  ]


def _mark_subjects(
  subjects: list[scenes.Object], scene: scenes.Scene, picture: np.ndarray
) -> items.Marks:
  reading = verifier.read(picture)
  seen = {(o.shape, o.color, scenes.region(o.x, o.y)) for o in reading.objects}
  wanted = {(o.shape, o.color, scenes.region(o.x, o.y)) for o in subjects}
  return {
    rows.SCORE: float(wanted <= seen),
    rows.SCENE: float(agreement.agreement(reading, scene).everything()),
  }


def _sample(
  painter: tasks.Painter, task: str, kind: str = ""
) -> sample_lib.Sample:
  return tasks.make(
    task, painter.rng, split=painter.split, kind=kind, world=painter.world
  )


def _of_sample(
  row: str,
  index: int,
  sample: sample_lib.Sample,
  mark: Callable[[np.ndarray], items.Marks],
) -> items.Drawn:
  return items.Drawn(
    row=row,
    index=index,
    text=sample.instruction,
    conditions=sample.cond_images,
    mark=mark,
    target=sample.target_image,
    unit=index,
  )


_MAPS = {"canny": _mark_canny, "depth": _mark_depth, "pose": _mark_pose}
_DRAWN = {
  "editing": _edit,
  "perception": _map,
  "personalisation": _subject,
}
