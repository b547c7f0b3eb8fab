"""A judge looks at all pictures of a folder."""

import functools
import pathlib
from collections.abc import Sequence

from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies
from unialign_jax.evals.judge import rubrics
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import layout
from unialign_jax.evals.semgen import samples as samples_lib

# What drawn pictures are judged by. The authors' scorer has the rubric of
# edits look at them too, alone and with the prompt as the instruction.
PROTOCOLS = {"release": rubrics.EDIT, "paper": rubrics.PROMPT}
UNREADABLE = "unreadable picture"
ABSENT = (samples_lib.MISSING, UNREADABLE)


def judged(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  judge: judge_lib.Judge,
  ledger: ledger_lib.Ledger,
  *,
  protocol: str,
  attempts: int,
) -> list[samples_lib.Sample]:
  """A sample for each item of each group, in order.

  Args:
    out: with the pictures.
    items: what there should be pictures of.
    judge: asked twice a picture.
    ledger: of its judgements.
    protocol: one of `PROTOCOLS`.
    attempts: most replies to one question.

  Raises:
    JudgeLost, Unusable: see `asking.answers`.
  """
  wanted = [(group, item) for group in dataset.GROUPS for item in items]
  absent = {
    (group, item.key): status
    for group, item in wanted
    if (status := _absence(out / layout.picture(group, item.key)))
  }
  questions = [
    question
    for group, item in wanted
    if (group, item.key) not in absent
    for question in _questions(out, group, item, PROTOCOLS[protocol])
  ]
  found = iter(asking.answers(judge, questions, ledger, attempts=attempts))
  made = []
  for group, item in wanted:
    if status := absent.get((group, item.key)):
      made.append(samples_lib.missing(group.name, item.key, status))
    else:
      made.append(_sample(group.name, item.key, next(found), next(found)))
  return made


def _absence(path: pathlib.Path) -> str | None:
  """Why there is no picture, if there is none."""
  if not path.exists():
    return samples_lib.MISSING
  try:
    with Image.open(path, formats=picture_files.FORMATS) as image:
      image.load()
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
    return UNREADABLE
  return None


def _questions(
  out: pathlib.Path,
  group: dataset.Group,
  item: dataset.Item,
  drawn: rubrics.Rubric,
) -> list[asking.Question]:
  """Of instruction consistency, and of perceptual quality."""
  rubric = rubrics.EDIT if group.is_edit else drawn
  name = f"{group.field}/{item.key}"
  alone = functools.partial(_alone, out, group, item.key)
  both = functools.partial(_both, out, group, item)
  return [
    asking.question(
      f"{name}/{rubric.id}",
      rubric,
      item.prompts[group.field],
      both if group.is_edit else alone,
    ),
    asking.question(f"{name}/{rubrics.QUALITY.id}", rubrics.QUALITY, "", alone),
  ]


def _alone(
  out: pathlib.Path, group: dataset.Group, key: int
) -> list[Image.Image]:
  return [layout.read(out / layout.picture(group, key))]


def _both(
  out: pathlib.Path, group: dataset.Group, item: dataset.Item
) -> list[Image.Image]:
  """Before and after, the latter at the size of the former."""
  shown = before(out, group, item)
  after = layout.read(out / layout.picture(group, item.key))
  return [shown, after.resize(shown.size)]


def before(
  out: pathlib.Path, group: dataset.Group, item: dataset.Item
) -> Image.Image:
  """What was edited: as it is in the folder, else as it would be."""
  path = out / layout.source(group, item.key)
  return (
    layout.read(path) if path.exists() else layout.squashed(item.photograph)
  )


def _sample(
  group: str,
  key: int,
  consistency: replies.Scores | replies.Unparsed,
  quality: replies.Scores | replies.Unparsed,
) -> samples_lib.Sample:
  for name, found in (("IC", consistency), ("PQ", quality)):
    if isinstance(found, replies.Unparsed):
      # Without one of both there is no O, and all means are of one set.
      status = f"{name}: {found.reason}"
      return samples_lib.Sample(
        group=group, key=key, status=status, ic=None, pq=None
      )
  return samples_lib.Sample(
    group=group,
    key=key,
    status=samples_lib.SCORED,
    ic=rubrics.combined(consistency),
    pq=rubrics.combined(quality),
  )
