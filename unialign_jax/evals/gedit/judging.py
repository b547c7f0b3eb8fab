"""GEdit-Bench's pictures before a judge, with VIEScore's two questions."""

import functools
import pathlib
from collections.abc import Sequence

from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import layout
from unialign_jax.evals.gedit import scores
from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies
from unialign_jax.evals.judge import rubrics

FILE = "judgements.jsonl"


def run(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  judge: judge_lib.Judge,
  attempts: int,
) -> list[scores.Sample]:
  """A sample for each item, in order.

  Args:
    out: the folder of results; `FILE` in it is read and appended to.
    items: what there should be pictures of.
    judge: asked twice a picture.
    attempts: most replies to one question.

  Raises:
    ValueError: a file that is no picture.
    JudgeError: as `asking.answers`.
  """
  there = [item for item in items if (out / layout.edited(item)).exists()]
  questions = [one for item in there for one in _questions(out, item)]
  with ledger_lib.Ledger(out / FILE) as ledger:
    found = iter(asking.answers(judge, questions, ledger, attempts=attempts))
  judged = {
    item.name: _sample(item, next(found), next(found)) for item in there
  }
  return [
    judged.get(item.name) or scores.missing(item.task, item.intersection)
    for item in items
  ]


def _questions(out: pathlib.Path, item: dataset.Item) -> list[asking.Question]:
  """Of semantic consistency, before and after; and of quality, after alone."""
  return [
    asking.question(
      f"{item.name}/{rubrics.EDIT.id}",
      rubrics.EDIT,
      item.instruction,
      functools.partial(_both, out, item),
    ),
    asking.question(
      f"{item.name}/{rubrics.QUALITY.id}",
      rubrics.QUALITY,
      "",
      lambda: _both(out, item)[1:],
    ),
  ]


def _both(out: pathlib.Path, item: dataset.Item) -> list[Image.Image]:
  """Source and result, the latter at the size of the former."""
  before = _open(out / layout.source(item))
  return [before, _open(out / layout.edited(item)).resize(before.size)]


def _open(path: pathlib.Path) -> Image.Image:
  try:
    with Image.open(path, formats=picture_files.FORMATS) as picture:
      return picture.convert("RGB")
  except OSError as error:
    raise ValueError(
      f"{path}: got no picture ({error}), expected a PNG; remove it and make it"
      " again"
    ) from error


def _sample(
  item: dataset.Item,
  consistency: replies.Scores | replies.Unparsed,
  quality: replies.Scores | replies.Unparsed,
) -> scores.Sample:
  """Without one of both there is no O, and all means are of one set."""
  for name, found in (("SC", consistency), ("PQ", quality)):
    if isinstance(found, replies.Unparsed):
      return scores.Sample(
        task=item.task,
        status=f"{name}: {found.reason}",
        sc=None,
        pq=None,
        intersection=item.intersection,
      )
  return scores.Sample(
    task=item.task,
    status=scores.SCORED,
    sc=rubrics.combined(consistency),
    pq=rubrics.combined(quality),
    intersection=item.intersection,
  )
