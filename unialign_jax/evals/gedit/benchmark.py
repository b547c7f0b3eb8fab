"""GEdit-Bench: edits, judged for consistency and quality (VIEScore)."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals import benchmark
from unialign_jax.evals import options
from unialign_jax.evals import protocols
from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import judging
from unialign_jax.evals.gedit import layout
from unialign_jax.evals.gedit import official
from unialign_jax.evals.gedit import scores
from unialign_jax.evals.gedit import tables
from unialign_jax.evals.judge import judge as judge_lib

_RELEASED = ", as released"
_BACKBONE = "own_judge"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What --set and --protocol know.

  Attributes:
    protocol, compat: see `protocols`.
    language: "en" or "cn".
    input: what is edited: "input_image", or "input_image_raw" before it was
      made smaller. The judge sees the former either way.
    images: folder of the pictures of UniWorld's repack; empty: beside it.
    seed: of every picture.
    partial: whether a part of the items will do.
    results: folder of the official scorer's CSV files, or one of them.
    attempts: most replies of the judge to one question.
    backbone: folder for the CSV files that are written here.
  """

  protocol: str = ""
  compat: bool = False
  language: str = "en"
  input: str = dataset.INPUT
  images: pathlib.Path | None = None
  seed: int = 0
  partial: bool = False
  results: pathlib.Path | None = None
  attempts: int = 3
  backbone: str = _BACKBONE

  def __post_init__(self) -> None:
    protocols.chosen(self.protocol, self.compat)
    if self.results is not None and _BACKBONE in self.results.parts:
      raise ValueError(
        f"--set results={self.results}: got files of a judge here, expected"
        " those of the official scorer."
      )
    if self.input not in (dataset.INPUT, dataset.RAW):
      raise ValueError(
        f"--set input={self.input}: expected {dataset.INPUT} or {dataset.RAW}."
      )

  def read(
    self, data: pathlib.Path | None, column: str | None
  ) -> list[dataset.Item]:
    return dataset.read(
      data,
      self.language,
      column=column,
      images=self.images,
      partial=self.partial,
    )


class GEditBench:
  """See `benchmark.Benchmark`."""

  name = "gedit"
  known_protocols = protocols.ALL
  hub_files = ("*.parquet", "*.arrow")

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
        "gedit: got both a judge and --set results, or neither; expected"
        " --judge=..., or the official scorer's files. The pictures are made"
        " without (--only=generate)."
      )
    options.check_exists("results", chosen.results)

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Wanted]:
    chosen = options.read(Options, settings, self.name)
    return layout.wanted(chosen.read(data, chosen.input), chosen.seed)

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    chosen = options.read(Options, settings, self.name)
    if chosen.results is None:
      layout.finish(out, chosen.read(data, dataset.INPUT))

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark.Result:
    self.check(data, settings, judge is not None)
    chosen = options.read(Options, settings, self.name)
    items = chosen.read(data, None)
    if judge is None:
      found = official.read(out, items, chosen.results, chosen.language)
      scorer = str(chosen.results)
    else:
      found = _judged(out, items, judge, chosen)
      scorer = f"{judge.identity} (asked with {judge.libraries})"
    protocol = protocols.chosen(chosen.protocol, chosen.compat)
    notes = list(found.notes)
    if judge is None and protocol == protocols.REPAIRED:
      notes.append(protocols.NOTE)
    return benchmark.Result(
      benchmark=self.name,
      protocol=protocol,
      official=judge is None,
      scorer=scorer,
      scores=_table(found, protocol),
      notes=[*notes, *_gaps(items, found.samples)],
    )


def _judged(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  judge: judge_lib.Judge,
  chosen: Options,
) -> scores.Found:
  """Has the pictures judged, and writes that as the official files too."""
  samples = judging.run(out, items, judge, chosen.attempts)
  made_by = {"judge": judge.identity, "libraries": judge.libraries}
  tables.write(out, chosen.backbone, items, samples, made_by)
  note = (
    "The rubrics are VIEScore's in other words: only numbers of one judge and"
    " one version of this project can be compared."
  )
  return scores.Found(samples=samples, rows=samples, notes=[note])


def _table(found: scores.Found, protocol: str) -> list[benchmark.Score]:
  if protocol == protocols.COMPAT:
    return scores.as_released(found.rows)
  return [
    *scores.repaired(found.samples),
    *scores.as_released(found.rows, _RELEASED),
  ]


def _gaps(
  items: Sequence[dataset.Item], samples: Sequence[scores.Sample]
) -> list[str]:
  """What is missing, in words."""
  statuses = collections.Counter(sample.status for sample in samples)
  statuses.pop(scores.SCORED, None)
  notes = []
  if absent := statuses.pop(scores.MISSING, 0):
    notes.append(
      f"{absent} pictures are missing: they count 0, and as released they are"
      " left out."
    )
  if statuses:
    reasons = ", ".join(f"{n} by {why}" for why, n in statuses.items())
    notes.append(
      f"{statuses.total()} pictures got no score and are in no mean: {reasons}."
    )
  groups = {item.task for item in items}
  if absent := [task for task in dataset.GROUPS if task not in groups]:
    notes.append(f"Without {absent}, so the Average is not GEdit-Bench's.")
  if all(item.intersection is None for item in items):
    notes.append("The data does not say which items are in the intersection.")
  return notes


BENCHMARK = GEditBench()
