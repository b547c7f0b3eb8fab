"""What a trained network is asked: held-out samples of every ability.

All of it is drawn from scenes of the test split (`scene.split`), which no
training sample shows. GenEval's prompts are plain lists of shapes; they hold
nothing out.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data import sample as sample_lib
from unialign_jax.shapes import builder
from unialign_jax.shapes import geneval
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import semantics
from unialign_jax.shapes import tasks

# Not the seed of any feature set, so test sets may be looked at in training.
_SEED = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exam:
  """The questions, and in each sample its right answer.

  Attributes:
    prompts: GenEval metadata.
    singles: one shape, and a prompt that names its colour and shape.
    pictures: one shape, to be captioned.
    questions: with question and answer.
    edits: in natural style, so that the verifier can read the result.
    maps: canny, depth, pose.
    subjects: one subject picture.
  """

  prompts: Sequence[Mapping[str, Any]]
  singles: Sequence[sample_lib.Sample]
  pictures: Sequence[sample_lib.Sample]
  questions: Sequence[sample_lib.Sample]
  edits: Sequence[sample_lib.Sample]
  maps: Sequence[sample_lib.Sample]
  subjects: Sequence[sample_lib.Sample]


def make(count: int, per_tag: int, world: tasks.World) -> Exam:
  """Draws an exam, the same one every time.

  Args:
    count: samples of each field; three times as many questions.
    per_tag: most GenEval prompts of one task.
    world: scenes as in training.
  """
  alone = dataclasses.replace(world, weights=(1.0, 0.0, 0.0, 0.0), figure=0.0)
  singles = _take(2 * count, "text_to_image", alone, _names_all)
  return Exam(
    prompts=geneval.prompts(per_tag),
    singles=singles[:count],
    pictures=singles[count:],
    questions=_take(3 * count, "understanding", world, lambda s: s.question),
    edits=_take(count, "edit", world, _is_natural),
    maps=_take(count, "perception", world),
    subjects=_take(count, "personalise", world),
  )


def _take(
  count: int,
  task: str,
  world: tasks.World,
  wanted: Callable[[sample_lib.Sample], Any] = lambda sample: True,
) -> list[sample_lib.Sample]:
  """The first `count` test samples of a task that are wanted."""
  config = builder.ShapesConfig(task=task, seed=_SEED, world=world)
  found: list[sample_lib.Sample] = []
  index = 0
  while len(found) < count:
    sample = builder.example(config, "test", index)
    if wanted(sample):
      found.append(sample)
    index += 1
  return found


def _names_all(sample: sample_lib.Sample) -> bool:
  """Whether the prompt says colour and shape of the one shape."""
  said = semantics.mentions(sample.instruction)
  return len(said) == 1 and all((said[0][1], said[0][3]))


def _is_natural(sample: sample_lib.Sample) -> bool:
  return scenes.Scene.from_json(sample.scene).style == "natural"
