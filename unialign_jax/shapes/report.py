"""What a run on the Shapes world has learnt, measured on held-out samples.

  python -m unialign_jax.shapes.report --workdir=runs/shapes/run

asks the averaged weights of the latest checkpoint, and the same network before
any training, everything in `exam.py`; prints a table and writes to OUT

  sample_grid.png  held-out prompts, then GenEval's, and what was drawn
  task_grid.png    edits, maps, subjects: given | wanted | drawn
  captions.md      captions and answers beside the true ones
  curves.png       the losses
  scores.json      every number of the table
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
from absl import app
from absl import flags
from absl import logging
from PIL import Image

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.data import sample as sample_lib
from unialign_jax.models import mmdit
from unialign_jax.sampling import grid
from unialign_jax.shapes import curves
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import geneval
from unialign_jax.shapes import sampler as sampler_lib
from unialign_jax.shapes import scores as scores_lib
from unialign_jax.training import state as state_lib

# What configs/shapes.py should reach; for the other measures nothing is set.
WANTED = {
  "prompt: right color": 0.9,
  "prompt: right shape": 0.6,
  "caption: color named": 0.95,
  "caption: shape named": 0.8,
}
_SHOWN = 4  # pictures in a row of sample_grid.png
_SINGLE_ROWS = 3  # of it for prompts of one shape
_TASK_ROWS, _TASK_COLUMNS = 2, 3  # of task_grid.png, of each kind of task
_WORKDIR = flags.DEFINE_string("workdir", "runs/shapes/run", "Of the run.")
_OUT = flags.DEFINE_string(
  "out", None, "Folder of the files; WORKDIR/report by default."
)
_EXAMPLES = flags.DEFINE_integer(
  "examples", 64, "Held-out samples of each ability; thrice as many questions."
)
_PER_TAG = flags.DEFINE_integer(
  "per_tag", 24, "Most prompts of each of GenEval's six tasks."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
  """All that one network drew and wrote in an exam, in the exam's order."""

  prompts: np.ndarray
  singles: np.ndarray
  edits: np.ndarray
  maps: np.ndarray
  subjects: np.ndarray
  captions: Sequence[str]
  answers: Sequence[str]


def sit(
  exam: exam_lib.Exam, sampler: sampler_lib.Sampler, params: Any
) -> Answers:
  """Puts the exam to the network with these parameters."""

  def draw(samples: Sequence[sample_lib.Sample]) -> np.ndarray:
    conditions = [s.cond_images for s in samples if s.cond_images]
    return sampler.draw(params, [s.instruction for s in samples], conditions)

  return Answers(
    prompts=sampler.draw(params, [p["prompt"] for p in exam.prompts], seed=1),
    singles=draw(exam.singles),
    edits=draw(exam.edits),
    maps=draw(exam.maps),
    subjects=draw(exam.subjects),
    captions=sampler.write(params, [s.target_image for s in exam.pictures]),
    answers=sampler.write(
      params,
      [s.target_image for s in exam.questions],
      [s.question for s in exam.questions],
    ),
  )


def mark(
  exam: exam_lib.Exam, sampler: sampler_lib.Sampler, given: Answers
) -> scores_lib.Scores:
  """Scores of all measures."""
  return (
    scores_lib.single_objects(given.singles, exam.singles)
    | scores_lib.compositions(given.prompts, exam.prompts)
    | scores_lib.captions(given.captions, exam.pictures)
    | scores_lib.answers(
      given.answers,
      [s.question for s in exam.questions],
      sampler.as_written([s.caption for s in exam.questions]),
    )
    | scores_lib.edits(given.edits, exam.edits)
    | scores_lib.subjects(given.subjects, exam.subjects)
    | scores_lib.maps(given.maps, exam.maps)
  )


def untrained(config: config_lib.Config) -> Any:
  """The parameters that the run began with."""

  def create() -> Any:
    return state_lib.create(
      mmdit.MMDiT(config.model),
      optax.identity(),
      config.seed,
      latent_shape=config.latent_shape,
      text_length=config.data.text_length,
    ).params

  return jax.jit(create)()


def table(before: scores_lib.Scores, after: scores_lib.Scores) -> str:
  """Lines of: measure, untrained, trained, wanted, number of examples."""
  lines = [
    f"{'measure':34}{'untrained':>10}{'trained':>10}{'wanted':>10}{'of':>6}"
  ]
  for name, score in after.items():
    form = ".1f" if "dB" in name else ".2f"
    wanted = format(WANTED[name], form) if name in WANTED else ""
    lines.append(
      f"{name:34}{before[name].value:>10{form}}{score.value:>10{form}}"
      f"{wanted:>10}{score.count:>6}"
    )
  return "\n".join(lines)


def sample_grid(exam: exam_lib.Exam, given: Answers) -> np.ndarray:
  """Prompts of one shape, then the first of every GenEval task, a row each."""
  singles = [
    grid.Cell(sample.instruction, [picture])
    for sample, picture in zip(exam.singles, given.singles)
  ]
  starts = range(0, min(_SINGLE_ROWS * _SHOWN, len(singles)), _SHOWN)
  rows: dict[str, list[grid.Cell]] = {tag: [] for tag in geneval.TAGS}
  for prompt, picture in zip(exam.prompts, given.prompts):
    rows[prompt["tag"]].append(grid.Cell(prompt["prompt"], [picture]))
  return grid.draw(
    [singles[i : i + _SHOWN] for i in starts]
    + [row[:_SHOWN] for row in rows.values()],
    scale=2,
  )


def task_grid(exam: exam_lib.Exam, given: Answers) -> np.ndarray:
  """Condition picture, wanted picture and drawn picture of image tasks."""
  rows = []
  for samples, pictures in (
    (exam.edits, given.edits),
    (exam.maps, given.maps),
    (exam.subjects, given.subjects),
  ):
    cells = [
      grid.Cell(s.instruction, [*s.cond_images, s.target_image, picture])
      for s, picture in zip(samples, pictures)
    ]
    for i in range(0, _TASK_ROWS * _TASK_COLUMNS, _TASK_COLUMNS):
      rows.append(cells[i : i + _TASK_COLUMNS])
  return grid.draw([row for row in rows if row])


def texts(
  exam: exam_lib.Exam, sampler: sampler_lib.Sampler, given: Answers
) -> str:
  """Markdown: what was written beside what is true."""
  lines = ["# Captions of held-out pictures", "", "| true | written |", "|-|-|"]
  for sample, text in zip(exam.pictures, given.captions):
    lines.append(f"| {sample.caption} | {text} |")
  lines += ["", "# Answers", "", "| question | true | written |", "|-|-|-|"]
  wanted = sampler.as_written([s.caption for s in exam.questions])
  for sample, right, text in zip(exam.questions, wanted, given.answers):
    lines.append(f"| {sample.question} | {right} | {text} |")
  return "\n".join(lines) + "\n"


def write(
  out: pathlib.Path,
  exam: exam_lib.Exam,
  sampler: sampler_lib.Sampler,
  *,
  untrained_params: Any,
  trained_params: Any,
  metrics: Mapping[int, Mapping[str, float]],
) -> str:
  """Measures both networks, writes all files, and returns the table.

  Args:
    out: folder of the files.
    exam: what is asked.
    sampler: of the run's network.
    untrained_params: at the start of the run.
    trained_params: at its end.
    metrics: losses by step, for the curves.
  """
  before = mark(exam, sampler, sit(exam, sampler, untrained_params))
  given = sit(exam, sampler, trained_params)
  after = mark(exam, sampler, given)
  out.mkdir(parents=True, exist_ok=True)
  Image.fromarray(sample_grid(exam, given)).save(out / "sample_grid.png")
  Image.fromarray(task_grid(exam, given)).save(out / "task_grid.png")
  (out / "captions.md").write_text(texts(exam, sampler, given))
  curves.draw(metrics, out / "curves.png")
  (out / "scores.json").write_text(_json(before, after))
  return table(before, after)


def _json(before: scores_lib.Scores, after: scores_lib.Scores) -> str:
  measures: Mapping[str, Any] = {
    name: {
      "untrained": before[name].value,
      "trained": score.value,
      "wanted": WANTED.get(name),
      "examples": score.count,
    }
    for name, score in after.items()
  }
  return json.dumps(measures, indent=2) + "\n"


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  logging.set_verbosity(logging.ERROR)
  start = time.monotonic()
  workdir = pathlib.Path(_WORKDIR.value)
  out = pathlib.Path(_OUT.value or workdir / "report")
  try:
    config, trained = checkpoint.load_params(workdir)
    metrics = curves.read(workdir / "metrics.jsonl")
    sampler = sampler_lib.Sampler(config)
  except ValueError as error:
    sys.exit(f"error: {error}")
  measured = write(
    out,
    exam_lib.make(_EXAMPLES.value, _PER_TAG.value, feature_sets.WORLD),
    sampler,
    untrained_params=untrained(config),
    trained_params=trained,
    metrics=metrics,
  )
  print(measured)
  for path in sorted(out.iterdir()):
    print(path)
  print(f"measured in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
  app.run(main)
