"""ImgEdit-Bench's numbers: nine types, and two ways to an overall.

Of an image:      the mean of its three scores, 1 to 5
Of a type:        the mean over its images
Overall:          the unweighted mean of the types, which nearly all papers
                  print (there is no official script for it)
Overall (micro):  the mean over images, which Bagel and lmms-eval print

The official scripts round to two decimals twice, of images and of types, and
leave out what they cannot read.
"""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals import tally
from unialign_jax.evals.imgedit import dataset
from unialign_jax.evals.imgedit import replies
from unialign_jax.evals.judge import replies as judge_replies

OVERALL = "Overall"
MICRO = "Overall (micro)"
# What a judge wrote about each key, None where it wrote nothing of use.
Texts = Mapping[str, str | None]


def repaired(
  items: Sequence[dataset.Item], texts: Texts, metric: str, *, cap: bool
) -> list[benchmark.Score]:
  """The table over all images that should be there.

  Args:
    items: the edits.
    texts: replies; a key that is not in it is a missing picture, which counts
      0; one whose reply cannot be read is in no mean.
    metric: the name of the column.
    cap: whether the last two scores may be no higher than the first, as the
      rubric tells the judge.
  """
  return _table(items, [_mean(item, texts, cap) for item in items], metric)


def as_released(
  items: Sequence[dataset.Item], texts: Texts, metric: str
) -> list[benchmark.Score]:
  """The table of step1_get_avgscore.py and step2_typescore.py."""
  values = [replies.as_released(texts.get(item.key) or "") for item in items]
  table = _table(items, values, metric)
  kinds = [
    dataclasses.replace(
      score,
      value=None if score.value is None else round(score.value, 2),
      low=None,
      high=None,
    )
    for score in table
    if score.group in dataset.COUNTS
  ]
  known = [score.value for score in kinds if score.value is not None]
  means = {
    OVERALL: sum(known) / len(known) if len(known) == len(kinds) else None
  }
  return kinds + [
    dataclasses.replace(
      score, value=means.get(score.group, score.value), low=None, high=None
    )
    for score in table
    if score.group not in dataset.COUNTS
  ]


def above_first(texts: Texts) -> int:
  """Replies in which a later score is above the first, which may not be."""
  read = [replies.parse(text) for text in texts.values() if text]
  return sum(
    max(scores) > scores[0]
    for scores in read
    if not isinstance(scores, judge_replies.Unparsed)
  )


def unread(texts: Texts) -> dict[str, str]:
  """Why replies have no scores, by key."""
  read = {key: replies.parse(text or "") for key, text in texts.items()}
  return {
    key: result.reason
    for key, result in read.items()
    if isinstance(result, judge_replies.Unparsed)
  }


def _mean(item: dataset.Item, texts: Texts, cap: bool) -> float | None:
  if item.key not in texts:
    return 0.0
  found = replies.parse(texts[item.key] or "")
  if isinstance(found, judge_replies.Unparsed):
    return None
  first = found[0]
  counted = [min(score, first) if cap else score for score in found]
  return sum(counted) / len(counted)


def _table(
  items: Sequence[dataset.Item], values: tally.Samples, metric: str
) -> list[benchmark.Score]:
  """Rows of the types that have items."""
  columns = {
    kind: [v for item, v in zip(items, values) if item.kind == kind]
    for kind in dataset.COUNTS
  }
  columns = {kind: column for kind, column in columns.items() if column}
  return [
    *(tally.mean(kind, metric, column) for kind, column in columns.items()),
    tally.mean_of_groups(OVERALL, metric, list(columns.values())),
    tally.mean(MICRO, metric, values),
  ]
