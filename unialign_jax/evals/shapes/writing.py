"""Texts to be written: captions, and answers to questions of nine kinds."""

import functools

from unialign_jax.evals.shapes import captions
from unialign_jax.evals.shapes import items
from unialign_jax.evals.shapes import rows
from unialign_jax.shapes import language
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import scores
from unialign_jax.shapes import tasks

# Where a scene as the world has it would rarely ask for more than a guess.
_NEEDS = {
  "person": {
    "figure": 0.5,
    "max_objects": scenes.MAX_OBJECTS_WITH_FIGURE,
  },
  "relation": {"min_objects": 2},
}


@functools.lru_cache(maxsize=2)
def written(samples: int, seed: int, world: str) -> tuple[items.Written, ...]:
  """All texts; arguments as `drawing.drawn` has them."""
  return tuple(
    (_caption if row == rows.CAPTIONS else _answer)(row, index, painter)
    for row in rows.of("understanding")
    for index, painter in items.painters(row, samples, seed, world)
  )


def _caption(row: str, index: int, painter: tasks.Painter) -> items.Written:
  """Of a scene that a text of the world's length can say all of."""
  while True:
    scene = painter.scene()
    texts = language.captions(
      scene, painter.rng, painter.world.max_tokens, complete=True
    )
    whole = [t for t in texts if captions.attribute_f1(t, scene) == 1]
    if whole:
      return items.Written(
        row=row,
        index=index,
        picture=painter.picture(scene),
        question="",
        target=whole[0],
        mark=functools.partial(_mark_caption, scene),
      )


def _mark_caption(scene: scenes.Scene, text: str) -> items.Marks:
  return {rows.SCORE: captions.attribute_f1(text, scene)}


def _answer(row: str, index: int, painter: tasks.Painter) -> items.Written:
  kind = rows.kind(row)
  while True:
    scene = painter.scene(**_NEEDS.get(kind, {}))
    pairs = [
      (question, answer)
      for question, answer in language.question_answers(scene, painter.rng)
      if scores.question_kind(question) == kind
      and painter.fits(answer, question)
    ]
    if pairs:
      question, answer = pairs[painter.rng.integers(len(pairs))]
      return items.Written(
        row=row,
        index=index,
        picture=painter.picture(scene),
        question=question,
        target=answer,
        mark=functools.partial(_mark_answer, answer),
      )


def _mark_answer(answer: str, text: str) -> items.Marks:
  return {rows.SCORE: float(rows.same_words(text, answer))}
