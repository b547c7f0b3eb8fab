"""Words and pictures to begin with: of the Shapes world, or of any other.

The shipped model knows the language of the Shapes world alone, so the page
offers that language; other models are asked in the words of their training.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from PIL import Image

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import paraphrases
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import phrases
from unialign_jax.shapes import tasks

_SEED = 4  # of the pictures
_COUNT = 4  # of each kind of task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
  """What the page offers.

  Attributes:
    prompts: texts to draw.
    edits: (file, instruction).
    wordings: instruction of each kind of map.
    subjects: (file, file or None, prompt).
    questions: (file, question); "" for a caption.
  """

  prompts: Sequence[str] = ()
  edits: Sequence[tuple[str, str]] = ()
  wordings: Mapping[str, str] = dataclasses.field(default_factory=dict)
  subjects: Sequence[tuple[str, str | None, str]] = ()
  questions: Sequence[tuple[str, str]] = ()


def of_photographs() -> Examples:
  """Texts alone; pictures are a visitor's own."""
  return Examples(
    prompts=(
      "a watercolour of a lighthouse at dusk",
      "two cats asleep on a red sofa, soft window light",
    ),
    wordings={
      kind: paraphrases.instructions(kind)[0] for kind in paraphrases.kinds()
    },
  )


def of_shapes(folder: pathlib.Path) -> Examples:
  """Scenes of the test split, which training has not seen.

  Args:
    folder: for the pictures.
  """
  edits, questions = _samples("edit"), _samples("understanding")
  alone, both = _samples("personalise"), _samples("personalise_multi")
  return Examples(
    prompts=tuple(s.instruction for s in _samples("text_to_image")),
    edits=[(_save(folder, s, 0), s.instruction) for s in edits],
    wordings={
      "canny": phrases.CANNY[0],
      "depth": phrases.DEPTH[0],
      "pose": phrases.POSE[0],
    },
    subjects=[
      (
        _save(folder, s, 0),
        _save(folder, s, 1) if s.cond_images[1:] else None,
        s.instruction,
      )
      for s in (*alone[:2], *both[:2])
    ],
    questions=[
      (_save(folder, s, None), question)
      for s in questions[:2]
      for question in ("", s.question or phrases.COUNT_ALL_QUESTION)
    ],
  )


def _samples(task: str) -> list[sample_lib.Sample]:
  rng = np.random.default_rng(_SEED)
  return [
    tasks.make(
      task, rng, key=f"{task}-{i}", split="test", world=feature_sets.WORLD
    )
    for i in range(_COUNT)
  ]


def _save(
  folder: pathlib.Path, sample: sample_lib.Sample, number: int | None
) -> str:
  """A condition picture as a file, or the target."""
  pixels = sample.target_image
  if number is not None:
    pixels = sample.cond_images[number]
  path = folder / f"{sample.key}-{number}.png"
  Image.fromarray(pixels).save(path)
  return str(path)
