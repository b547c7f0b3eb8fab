"""ImgEdit-Bench, basic suite: edits of nine types, three scores each."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax import strict_json
from unialign_jax.evals import benchmark
from unialign_jax.evals import options
from unialign_jax.evals import protocols
from unialign_jax.evals.imgedit import dataset
from unialign_jax.evals.imgedit import judging
from unialign_jax.evals.imgedit import layout
from unialign_jax.evals.imgedit import rubrics
from unialign_jax.evals.imgedit import scores
from unialign_jax.evals.judge import judge as judge_lib

_METRIC = "score"
_RELEASED = "score, as released"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What --set and --protocol know.

  Attributes:
    protocol, compat: see `protocols`.
    images: folder that the paths of basic_edit.json are relative to; empty:
      found beside it, unpacked or in a tar.
    seed: of every picture.
    partial: whether a part of the items will do.
    results: the official basic_bench.py's result.json.
    rubrics: the official prompts.json; empty for this project's words.
    cap: whether the last two scores may be no higher than the first.
    attempts: most replies of the judge to one question.
  """

  protocol: str = ""
  compat: bool = False
  images: pathlib.Path | None = None
  seed: int = 0
  partial: bool = False
  results: pathlib.Path | None = None
  rubrics: pathlib.Path | None = None
  cap: bool = False
  attempts: int = 3

  def __post_init__(self) -> None:
    protocols.chosen(self.protocol, self.compat)
    if self.results is not None and self.results.name == judging.REPLIES:
      raise _own(self.results)

  def read(
    self, data: pathlib.Path | None, has_pictures: bool
  ) -> list[dataset.Item]:
    return dataset.read(
      data,
      images=self.images,
      has_pictures=has_pictures,
      partial=self.partial,
    )


class ImgEditBench:
  """See `benchmark.Benchmark`."""

  name = "imgedit"
  known_protocols = protocols.ALL
  hub_files = ("*test*.parquet",)

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    del data
    chosen = options.read(Options, settings, self.name)
    if (chosen.results is not None) == has_judge:
      raise ValueError(
        "imgedit: got both a judge and --set results, or neither; expected"
        " --judge=..., or the official scorer's file. The pictures are made"
        " without (--only=generate)."
      )
    options.check_exists("results", chosen.results)
    if chosen.rubrics is not None:
      rubrics.Official(chosen.rubrics)  # it raises

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Wanted]:
    chosen = options.read(Options, settings, self.name)
    return layout.wanted(chosen.read(data, True), chosen.seed)

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    """Nothing: the scorer has the sources from the data."""
    del out, data
    options.read(Options, settings, self.name)

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark.Result:
    self.check(data, settings, judge is not None)
    chosen = options.read(Options, settings, self.name)
    items = chosen.read(data, judge is not None)
    protocol = protocols.chosen(chosen.protocol, chosen.compat)
    if judge is None:
      texts = _official(out, items, chosen.results)
      scorer, notes = str(chosen.results), []
      if protocol == protocols.REPAIRED:
        notes.append(protocols.NOTE)
    else:
      texts, notes = _judged(out, items, judge, chosen)
      scorer = f"{judge.identity} (asked with {judge.libraries})"
    if protocol == protocols.COMPAT:
      table = scores.as_released(items, texts, _METRIC)
    else:
      table = [
        *scores.repaired(items, texts, _METRIC, cap=chosen.cap),
        *scores.as_released(items, texts, _RELEASED),
      ]
    return benchmark.Result(
      benchmark=self.name,
      protocol=protocol,
      official=judge is None,
      scorer=scorer,
      scores=table,
      notes=[*notes, *_gaps(items, texts, chosen.cap)],
    )


def _judged(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  judge: judge_lib.Judge,
  chosen: Options,
) -> tuple[dict[str, str | None], list[str]]:
  """What the judge wrote, and what to say of it."""
  rubric, word = rubrics.ID, rubrics.question
  said = (
    "The rubrics are ImgEdit's in other words: only numbers of one judge and"
    " one version of this project can be compared."
  )
  if chosen.rubrics is not None:
    official = rubrics.Official(chosen.rubrics)
    rubric, word = official.id, official.question
    said = f"The rubrics are those of {chosen.rubrics}."
  texts = judging.run(out, items, judge, chosen.attempts, rubric, word)
  return texts, [said]


def _official(
  out: pathlib.Path, items: Sequence[dataset.Item], path: pathlib.Path
) -> dict[str, str | None]:
  """The official replies; None where the call failed.

  Raises:
    ValueError: no such file, one of other items, or not the official one.
  """
  try:
    replies = dict(strict_json.read(path))
  except (OSError, ValueError, TypeError) as error:
    raise ValueError(
      f"--set results={path}: got {error}, expected ImgEdit's result.json, an"
      " object with a reply a key."
    ) from error
  if judging.MADE_BY in replies:
    raise _own(path)
  known = {item.key for item in items}
  if unknown := sorted(set(replies) - known):
    raise ValueError(
      f"--set results={path}: got {unknown[:20]}, which --data does not have;"
      " give the files that belong together."
    )
  texts = {
    key: reply if isinstance(reply, str) else None
    for key, reply in replies.items()
  }
  # The scorer has an entry of any item; a picture that it lacked is an error.
  return {
    item.key: texts.get(item.key)
    for item in items
    if texts.get(item.key) is not None or (out / layout.edited(item)).exists()
  }


def _own(path: pathlib.Path) -> ValueError:
  return ValueError(
    f"--set results={path}: got replies of a judge here, expected those of the"
    " official scorer."
  )


def _gaps(
  items: Sequence[dataset.Item], texts: scores.Texts, cap: bool
) -> list[str]:
  """What is missing or odd, in words."""
  notes = []
  if absent := len(items) - len(texts):
    notes.append(
      f"{absent} pictures are missing: they count 0, and as released they are"
      " left out."
    )
  if unread := collections.Counter(scores.unread(texts).values()):
    reasons = ", ".join(f"{n} by {why}" for why, n in unread.items())
    notes.append(
      f"{unread.total()} pictures got no score and are in no mean: {reasons}."
    )
  if above := scores.above_first(texts):
    lowered = "lowered to it" if cap else "left so (--set cap=true lowers them)"
    notes.append(
      f"{above} replies have a score above their first, against the rubric:"
      f" {lowered}."
    )
  kinds = {item.kind for item in items}
  if absent := [kind for kind in dataset.COUNTS if kind not in kinds]:
    notes.append(f"Without {absent}, so the Overall is not ImgEdit-Bench's.")
  return notes


BENCHMARK = ImgEditBench()
