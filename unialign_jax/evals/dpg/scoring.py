"""DPG-Bench's questions, put to somebody who answers; resumed where cut off."""

import functools
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

from PIL import Image

from unialign_jax.evals.dpg import layout
from unialign_jax.evals.dpg import questions
from unialign_jax.evals.dpg import scores
from unialign_jax.evals.dpg import vqa
from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies

FILE = "answers.jsonl"


def run(
  out: pathlib.Path,
  items: questions.Items,
  samples: int,
  judge: judge_lib.Judge,
  attempts: int,
) -> dict[str, scores.Pictures]:
  """Yes or no of every picture that is there, to every question.

  Args:
    out: the folder of results; `FILE` in it is read and appended to.
    items: the questions.
    samples: of each prompt.
    judge: who is asked.
    attempts: most replies to one question.

  Raises:
    ValueError: a file that is no picture.
    JudgeError: as `asking.answers`.
  """
  there = layout.find(out, items, samples)
  asked = [
    (item, number, question)
    for item, number in there
    for question in items[item].values()
  ]
  # A picture is asked about many times in a row.
  opened = functools.lru_cache(maxsize=2 * judge.concurrency)(
    lambda item, number: layout.crop(out, there[item, number], number, samples)
  )
  to_ask = [
    _question(item, number, question, opened, judge)
    for item, number, question in asked
  ]
  with ledger_lib.Ledger(out / FILE) as ledger:
    got = asking.answers(judge, to_ask, ledger, attempts=attempts)
  said: dict[tuple[str, int], dict[int, bool]] = {key: {} for key in there}
  for (item, number, question), result in zip(asked, got, strict=True):
    if not isinstance(result, replies.Unparsed):
      said[item, number][question.number] = bool(result[0])
  return {
    item: [said.get((item, number)) for number in range(samples)]
    for item in items
  }


def _question(
  item: str,
  number: int,
  question: questions.Question,
  opened: "functools._lru_cache_wrapper[Image.Image]",
  judge: judge_lib.Judge,
) -> asking.Question:
  is_judge = not isinstance(judge, vqa.Transformers)
  return asking.Question(
    key=f"{item}/{number}/{question.number}",
    rubric="dpg-1" if is_judge else "dpg-bare",
    prompt=vqa.prompt(question.text, is_judge),
    images=lambda: [opened(item, number)],
    parse=vqa.parse if is_judge else vqa.parse_strictly,
  )


def verdicts(
  answers: Mapping[str, Sequence[scores.Answers | None]],
) -> dict[tuple[str, int, int], bool]:
  """Every answer by item, sample and question."""
  return {
    (item, number, question): verdict
    for item, pictures in answers.items()
    for number, answered in enumerate(pictures)
    if answered is not None
    for question, verdict in answered.items()
  }
