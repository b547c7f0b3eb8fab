"""Scores, bytes and seconds of a model by dtype and quantisation."""

import dataclasses
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import scores as scores_lib
from unialign_jax.use import loading
from unialign_jax.use import quantise

# (dtype, quantize); what the others are compared with comes first.
FORMS = tuple(
  (dtype, quantize)
  for dtype in ("float32", "bfloat16")
  for quantize in (None, *quantise.TYPES)
)
_HEAD = (
  "| dtype | quantize | network, T5 MB | right | distance | captions | answers"
  " | same texts | s a picture | s a text |"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
  """All that one form drew and wrote, and how long it took.

  Attributes:
    pictures: of `exam.singles`, uint8 [B, H, W, 3].
    texts: captions of `exam.pictures`, then answers to `exam.questions`.
    seconds: a picture and a text, in batches, after compilation.
    megabytes: of the network's parameters and of T5's.
  """

  pictures: np.ndarray
  texts: Sequence[str]
  seconds: tuple[float, float]
  megabytes: tuple[float, float]


def table(
  load: Callable[[str, str | None], loading.Loaded],
  exam: exam_lib.Exam,
  batch_size: int,
) -> str:
  """A Markdown table with a row for each of `FORMS`.

  The columns: the parameters' size; the share of pictures with right colour
  and shape; their root mean square distance in levels of 255 from those of the
  first form; shares of captions and answers that are right; of texts that are
  the first form's word for word; seconds.

  Args:
    load: gives the model for a form.
    exam: what is asked.
    batch_size: of pictures and of texts.
  """
  lines = [_HEAD, "|---" * 10 + "|"]
  first = None
  for dtype, quantize in FORMS:
    made = make(load(dtype, quantize), exam, batch_size)
    first = first or made
    cells = [dtype, quantize or "", *_cells(made, first, exam)]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def make(loaded: loading.Loaded, exam: exam_lib.Exam, batch_size: int) -> Made:
  """Draws and writes everything; arguments as `table` has them."""
  pipe = pipeline_lib.Pipeline(loaded, batch_size=batch_size)
  drawings = [
    pipeline_lib.Drawing(text=sample.instruction, seed=seed)
    for seed, sample in enumerate(exam.singles)
  ]
  asked = [pipeline_lib.Writing(s.target_image) for s in exam.pictures]
  asked += [
    pipeline_lib.Writing(s.target_image, s.question) for s in exam.questions
  ]
  size = pipe.batch_size
  pipe.draw(drawings[:size])  # compiles
  pipe.write(asked[:size])
  start = time.monotonic()
  pictures = np.stack(pipe.draw(drawings))
  drawn = time.monotonic()
  texts = []
  # A seed is an order of revealing: one for all would be a sample of one.
  for seed, begin in enumerate(range(0, len(asked), size)):
    texts += pipe.write(asked[begin : begin + size], seed=seed)
  end = time.monotonic()
  return Made(
    pictures=pictures,
    texts=texts,
    seconds=((drawn - start) / len(drawings), (end - drawn) / len(asked)),
    megabytes=tuple(
      _megabytes(params, loaded.quantize)
      for params in (loaded.params, loaded.text.params)
    ),
  )


def _cells(made: Made, first: Made, exam: exam_lib.Exam) -> list[str]:
  count = len(exam.pictures)
  right = scores_lib.single_objects(made.pictures, exam.singles)
  captions = scores_lib.captions(made.texts[:count], exam.pictures)
  answers = scores_lib.answers(
    made.texts[count:],
    [s.question for s in exam.questions],
    [s.caption for s in exam.questions],
  )
  apart = made.pictures.astype(float) - first.pictures
  distance = np.sqrt(np.mean(apart**2, axis=(1, 2, 3))).mean()
  same = np.mean([a == b for a, b in zip(made.texts, first.texts)])
  return [
    ", ".join(f"{size:.2f}" for size in made.megabytes),
    f"{right['prompt: both right'].value:.3f}",
    f"{distance:.2f}",
    f"{captions['caption: exactly right'].value:.3f}",
    f"{answers['answer: all'].value:.3f}",
    f"{same:.3f}",
    *(f"{seconds:.3f}" for seconds in made.seconds),
  ]


def _megabytes(params: Any, quantize: str | None) -> float:
  """What parameters take on one device."""
  device = jax.sharding.Mesh(jax.devices()[:1], ("one",))
  where = jax.NamedSharding(device, jax.P())
  shardings = jax.tree.map(lambda _: where, params)
  placed = quantise.place(params, shardings, quantize)
  return sum(x.nbytes for x in jax.tree.leaves(placed)) / 1e6
