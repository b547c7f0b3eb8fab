"""Scores of pictures and texts by solver, schedule and number of steps."""

import collections
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.diffusion import flow
from unialign_jax.sampling import grid
from unialign_jax.sampling import text as text_sampling
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import scores as scores_lib

STEPS = (4, 8, 16, 28, 50)
TEXT_STEPS = (1, 2, 4, 8, 16, 24)
_LIMIT = {"solver": "heun", "steps": 200}  # stands for the exact solution
_SHOWN = 3  # prompts in the picture


def images(
  pipe: pipeline_lib.Pipeline, exam: exam_lib.Exam
) -> tuple[str, np.ndarray]:
  """A Markdown table, and a picture of the first prompts, uint8 [H, W, 3].

  The columns: evaluations of the network, seconds a picture (in batches, after
  compilation), share with right colour and shape, and the root mean square
  distance in levels of 255 from `_LIMIT`.
  """
  wanted = [
    pipeline_lib.Drawing(text=sample.instruction, seed=seed)
    for seed, sample in enumerate(exam.singles)
  ]
  limit, seconds = _draw(pipe, wanted, _LIMIT)
  rows = [_row("limit: heun", _LIMIT["steps"], seconds, limit, limit, exam)]
  drawn: dict[int, list[np.ndarray]] = collections.defaultdict(list)
  for solver in flow.SOLVERS:
    for steps in STEPS:
      settings = {"solver": solver, "steps": steps}
      pictures, seconds = _draw(pipe, wanted, settings)
      rows.append(_row(solver, steps, seconds, pictures, limit, exam))
      for i in range(_SHOWN):
        drawn[i].append(pictures[i])
  head = "| solver | steps | evaluations | s a picture | right | distance |"
  cells = [
    [
      grid.Cell(
        f"{solver} {', '.join(map(str, STEPS))} steps: {wanted[i].text}",
        drawn[i][k * len(STEPS) : (k + 1) * len(STEPS)],
      )
    ]
    for i in range(_SHOWN)
    for k, solver in enumerate(flow.SOLVERS)
  ]
  return "\n".join([head, "|---|---|---|---|---|---|", *rows]), grid.draw(cells)


def texts(pipe: pipeline_lib.Pipeline, exam: exam_lib.Exam) -> str:
  """A Markdown table: shares of right captions and answers, seconds a text."""
  head = "| schedule | temperature | steps | captions | answers | s a text |"
  lines = [head, "|---|---|---|---|---|---|"]
  default = pipe.text_settings.temperature
  for schedule in text_sampling.SCHEDULES:
    for temperature in sorted({0.0, default, 1.0}):
      for steps in TEXT_STEPS:
        settings = {
          "schedule": schedule,
          "temperature": temperature,
          "steps": steps,
        }
        right, seconds = _write(pipe, exam, settings)
        lines.append(
          f"| {schedule} | {temperature:g} | {steps} | {right[0]:.2f} |"
          f" {right[1]:.2f} | {seconds:.4f} |"
        )
  return "\n".join(lines)


def _draw(
  pipe: pipeline_lib.Pipeline,
  wanted: Sequence[pipeline_lib.Drawing],
  settings: dict[str, Any],
) -> tuple[np.ndarray, float]:
  """Pictures [B, H, W, 3] as int, and seconds a picture."""
  pipe.draw(wanted[: pipe.batch_size], **settings)  # compiles
  start = time.monotonic()
  pictures = np.stack(pipe.draw(wanted, **settings))
  return pictures, (time.monotonic() - start) / len(wanted)


def _row(
  solver: str,
  steps: int,
  seconds: float,
  pictures: np.ndarray,
  limit: np.ndarray,
  exam: exam_lib.Exam,
) -> str:
  scores = scores_lib.single_objects(pictures, exam.singles)
  apart = pictures.astype(float) - limit
  distance = np.sqrt(np.mean(apart**2, axis=(1, 2, 3))).mean()
  count = flow.evaluations(solver.removeprefix("limit: "), steps)
  return (
    f"| {solver} | {steps} | {count} | {seconds:.3f} |"
    f" {scores['prompt: both right'].value:.2f} | {distance:.1f} |"
  )


def _write(
  pipe: pipeline_lib.Pipeline, exam: exam_lib.Exam, settings: dict[str, Any]
) -> tuple[tuple[float, float], float]:
  """Shares of right captions and of right answers, and seconds a text."""
  asked = [pipeline_lib.Writing(s.target_image) for s in exam.pictures]
  asked += [
    pipeline_lib.Writing(s.target_image, s.question) for s in exam.questions
  ]
  size = pipe.batch_size
  pipe.write(asked[:size], **settings)  # compiles
  start = time.monotonic()
  written = []
  # A seed is an order of revealing: one for all would be a sample of one.
  for seed, first in enumerate(range(0, len(asked), size)):
    written += pipe.write(asked[first : first + size], seed=seed, **settings)
  seconds = (time.monotonic() - start) / len(asked)
  captions = written[: len(exam.pictures)]
  given = written[len(exam.pictures) :]
  found = scores_lib.captions(captions, exam.pictures)
  right = scores_lib.answers(
    given,
    [s.question for s in exam.questions],
    [s.caption for s in exam.questions],
  )
  return (
    (found["caption: exactly right"].value, right["answer: all"].value),
    seconds,
  )
