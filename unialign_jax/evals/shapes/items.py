"""What the Shapes benchmark asks: a picture or a text, each with its mark.

Item i of a row is a function of the seed, the row and i alone, whatever the
number of items. All scenes are of the test split, which no training sample
shows.
"""

import dataclasses
import io
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
from PIL import Image

from unialign_jax.evals.shapes import rows
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import tasks

_SPLIT = "test"
# So many texts share a seed, which is an order of revealing; see
# `Pipeline.write`.
_TEXT_SEEDS = 8

Marks = Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
  """A picture to be drawn.

  Attributes:
    row: of the table.
    index: within the row.
    text: prompt or instruction.
    conditions: uint8 [64, 64, 3] each.
    mark: uint8 [64, 64, 3] -> numbers by metric.
    target: what a perfect model draws; None where there is no one picture.
    prompt: GenEval's metadata, where it is one.
    unit: what its bootstrap sample is: pictures of one prompt go together.
  """

  row: str
  index: int
  text: str
  conditions: tuple[np.ndarray, ...] = ()
  mark: Callable[[np.ndarray], Marks]
  target: np.ndarray | None = None
  prompt: Mapping | None = None
  unit: int

  @property
  def path(self) -> str:
    return f"pictures/{rows.slug(self.row)}/{self.index:05d}.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """A text to be written.

  Attributes:
    row, index: as `Drawn` has them.
    picture: uint8 [64, 64, 3].
    question: "" for a caption.
    target: a right answer.
    mark: text -> numbers by metric.
  """

  row: str
  index: int
  picture: np.ndarray
  question: str
  target: str
  mark: Callable[[str], Marks]

  @property
  def key(self) -> str:
    return f"{rows.slug(self.row)}/{self.index:05d}"

  @property
  def seed(self) -> int:
    return self.index % _TEXT_SEEDS


def png(picture: np.ndarray) -> bytes:
  """A picture as the bytes of a file."""
  file = io.BytesIO()
  Image.fromarray(picture).save(file, "PNG")
  return file.getvalue()


def painters(
  row: str, samples: int, seed: int, world: str
) -> Iterator[tuple[int, tasks.Painter]]:
  """Numbers of the items of a row, and what draws the scenes of each."""
  for index in range(samples):
    rng = np.random.default_rng((seed, rows.NUMBER[row], index))
    yield index, tasks.Painter(rng, _SPLIT, feature_sets.WORLDS[world])
