"""GenEval: does the picture show the objects that its prompt asks for?

The official scorer is out of reach of a current PyTorch; its file of results
is read here, and its rule is run over another detector, which is said so.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals import agreement
from unialign_jax.evals import benchmark
from unialign_jax.evals import options
from unialign_jax.evals import protocols
from unialign_jax.evals.geneval import colors
from unialign_jax.evals.geneval import detector
from unialign_jax.evals.geneval import layout
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import results
from unialign_jax.evals.geneval import scores
from unialign_jax.evals.geneval import scoring
from unialign_jax.evals.judge import judge as judge_lib

_METRIC = "accuracy"
_RELEASED = "accuracy, as released"
_OWN = "accuracy, other detector"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What --set and --protocol know.

  Attributes:
    protocol, compat: see `protocols`.
    prompts: "short" or "long", where --data is a folder.
    samples: of each prompt.
    seed: of the first sample of every prompt.
    grid: whether the samples are also put side by side.
    partial: whether a part of the prompts or pictures will do.
    results: the official evaluate_images.py's file.
    detector: of the scorer that runs here: folder or hub id.
    clip: likewise, for the colours.
  """

  protocol: str = ""
  compat: bool = False
  prompts: str = "short"
  samples: int = 4
  seed: int = 42
  grid: bool = True
  partial: bool = False
  results: pathlib.Path | None = None
  detector: str = ""
  clip: str = ""

  def __post_init__(self) -> None:
    protocols.chosen(self.protocol, self.compat)
    if self.samples < 1:
      raise ValueError(f"--set samples={self.samples}: expected at least 1.")
    if bool(self.detector) != bool(self.clip):
      raise ValueError(
        "--set detector and clip: got one of them, expected both; the one finds"
        " the objects, the other names their colours."
      )

  @property
  def is_compat(self) -> bool:
    chosen = protocols.chosen(self.protocol, self.compat)
    return chosen == protocols.COMPAT


class GenEval:
  """See `benchmark.Benchmark`."""

  name = "geneval"
  known_protocols = protocols.ALL
  hub_files = ()

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    del data, has_judge
    chosen = options.read(Options, settings, self.name)
    if not chosen.results and not chosen.detector:
      raise ValueError(
        "geneval: got nothing to score with; give the official scorer's file"
        " (--set results=results.jsonl), or models (--set detector=... --set"
        " clip=...). The pictures are made without (--only=generate)."
      )
    options.check_exists("results", chosen.results)
    if chosen.detector:
      detector.library("torch")  # it raises

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Wanted]:
    chosen = options.read(Options, settings, self.name)
    if data is None and chosen.results:
      return []  # the official rows name their prompts
    found = prompts.read(data, chosen.prompts, chosen.partial)
    return layout.wanted(found, chosen.samples, chosen.seed)

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    chosen = options.read(Options, settings, self.name)
    if chosen.results:
      return  # it was finished before it was scored
    found = prompts.read(data, chosen.prompts, chosen.partial)
    layout.finish(out, found, chosen.samples, chosen.grid)

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark.Result:
    self.check(data, settings, judge is not None)
    chosen = options.read(Options, settings, self.name)
    found = None
    if data is not None or chosen.detector:
      found = prompts.read(data, chosen.prompts, chosen.partial)
    official, own = None, None
    if chosen.results:
      official = _official(chosen.results)
    if chosen.detector:
      eyes = scoring.Eyes(
        detector.Transformers(chosen.detector), colors.Clip(chosen.clip)
      )
      own = scoring.run(out, found, chosen.samples, eyes)
      return result(chosen, found, official, own, eyes.identity)
    return result(chosen, found, official, own, "")


def result(
  chosen: Options,
  found: Sequence[prompts.Prompt] | None,
  official: Sequence[results.Row] | None,
  own: Sequence[results.Row] | None,
  eyes: str,
) -> benchmark.Result:
  """What the rows come to.

  Args:
    chosen: settings.
    found: the prompts; None for the official file's numbers.
    official: rows of the official scorer, where there are.
    own: rows of the scorer here, where there are.
    eyes: its models.

  Raises:
    ValueError: rows that are of other prompts or samples.
  """
  expected = scores.Expected(
    per_tag=_per_tag(found), samples=chosen.samples, partial=chosen.partial
  )
  table: list[benchmark.Score] = []
  notes: list[str] = []
  for rows, metric in ((official, _METRIC), (own, _OWN)):
    if rows is not None:
      _check(rows, found, chosen.samples)
      metric = metric if official is not None else _METRIC
      column = _column(rows, expected, metric, chosen.is_compat)
      notes += _notes(rows, column, expected)
      table += column
  if official is not None and own is not None:
    table += agreement.scores(
      {row.picture: row.correct for row in official},
      {row.picture: row.correct for row in own},
      sum(expected.per_tag.values()) * expected.samples,
    )
  if official is not None and not chosen.is_compat:
    notes.append(protocols.NOTE)
  if own is not None:
    notes.append(
      f"Scored here with {eyes}, which is not GenEval's detector: compare these"
      " numbers with each other, not with published ones."
    )
  return benchmark.Result(
    benchmark=GenEval.name,
    protocol=protocols.chosen(chosen.protocol, chosen.compat),
    official=official is not None,
    scorer=str(chosen.results) if official is not None else eyes,
    scores=table,
    notes=list(dict.fromkeys(notes)),
  )


def _official(path: pathlib.Path) -> list[results.Row]:
  """The official rows.

  Raises:
    ValueError: as `results.read`, or rows that were made here.
  """
  rows = results.read(path)
  if any(scoring.MADE_BY in row.fields for row in rows):
    raise ValueError(
      f"--set results={path}: got rows of the scorer here, expected those of"
      " the official one; --set detector and clip score the folder here."
    )
  return rows


def _column(
  rows: Sequence[results.Row],
  expected: scores.Expected,
  metric: str,
  is_compat: bool,
) -> list[benchmark.Score]:
  """A column, and beside the first one that of the official script."""
  if is_compat:
    return scores.as_released(rows, expected, metric)
  column = scores.repaired(scores.once(rows), expected, metric)
  if metric == _METRIC:
    column += scores.as_released(rows, expected, _RELEASED)
  return column


def _per_tag(found: Sequence[prompts.Prompt] | None) -> dict[str, int]:
  if found is None:
    return dict(prompts.COUNTS)
  counts = collections.Counter(prompt.tag for prompt in found)
  return {tag: counts[tag] for tag in prompts.COUNTS if counts[tag]}


def _check(
  rows: Sequence[results.Row],
  found: Sequence[prompts.Prompt] | None,
  samples: int,
) -> None:
  """Refuses rows of other prompts and of samples that are not expected."""
  known = None if found is None else {p.index: p for p in found}
  problems = []
  for row in rows:
    if row.number >= samples:
      problems.append(f"{row.fields['filename']}: --set samples is {samples}")
    if known is None:
      continue
    prompt = known.get(row.index)
    if prompt is None or dict(row.metadata) != dict(prompt.metadata):
      line = "no such line" if prompt is None else "another line"
      problems.append(f"{row.fields['filename']}: --data has {line}")
  if problems:
    shown = "\n  ".join(problems[:20])
    raise ValueError(
      f"results: {len(problems)} rows are not of these prompts and samples;"
      f" give the files that belong together:\n  {shown}"
    )


def _notes(
  rows: Sequence[results.Row],
  table: Sequence[benchmark.Score],
  expected: scores.Expected,
) -> list[str]:
  """What is missing or twice, in words."""
  notes = []
  if short := scores.short(table[: len(prompts.COUNTS)]):
    said = (
      "the Overall is of what there is" if expected.partial
      else "there is no Overall; --set partial=true gives one all the same"
    )  # fmt: skip
    notes.append(f"Pictures are missing ({', '.join(short)}): {said}.")
  if absent := [tag for tag in prompts.COUNTS if tag not in expected.per_tag]:
    notes.append(f"Without {absent}, so the Overall is not GenEval's.")
  if twice := len(rows) - len(scores.once(rows)):
    notes.append(
      f"{twice} rows are of pictures that have a row already: the last counts,"
      " and as released all do."
    )
  return notes


BENCHMARK = GenEval()
