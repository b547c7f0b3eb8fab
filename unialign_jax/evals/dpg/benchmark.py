"""DPG-Bench: questions about pictures of long prompts, and what is answered.

The official scorer's files are read here; who answers here is somebody else,
which is said so.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from unialign_jax.evals import agreement
from unialign_jax.evals import benchmark
from unialign_jax.evals import options
from unialign_jax.evals import protocols
from unialign_jax.evals.dpg import layout
from unialign_jax.evals.dpg import official
from unialign_jax.evals.dpg import prompts
from unialign_jax.evals.dpg import questions as questions_lib
from unialign_jax.evals.dpg import raw
from unialign_jax.evals.dpg import scores
from unialign_jax.evals.dpg import scoring
from unialign_jax.evals.dpg import vqa
from unialign_jax.evals.geneval import detector
from unialign_jax.evals.judge import judge as judge_lib

_METRIC = "score"
_RELEASED = "score, as released"
_OWN = "score, other answers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What --set and --protocol know.

  Attributes:
    protocol, compat: see `protocols`.
    samples: of each prompt, at most 4.
    seed: of the first sample of every prompt.
    partial: whether a part of the prompts will do.
    questions: the official dpg_bench.csv, where it is not in --data.
    results: the official compute_dpg_bench.py's `{res}.txt`, with
      `{res}_detail.txt` beside it.
    vqa: who answers here: folder or hub id of a VQA model; or the judge.
    attempts: most replies of the judge to one question.
  """

  protocol: str = ""
  compat: bool = False
  samples: int = layout.MOST
  seed: int = 0
  partial: bool = False
  questions: pathlib.Path | None = None
  results: pathlib.Path | None = None
  vqa: str = ""
  attempts: int = 3

  def __post_init__(self) -> None:
    protocols.chosen(self.protocol, self.compat)
    if not 1 <= self.samples <= layout.MOST:
      raise ValueError(
        f"--set samples={self.samples}: expected 1 to {layout.MOST}, which a"
        " grid has room for."
      )

  @property
  def is_compat(self) -> bool:
    chosen = protocols.chosen(self.protocol, self.compat)
    return chosen == protocols.COMPAT


class DpgBench:
  """See `benchmark.Benchmark`."""

  name = "dpg"
  known_protocols = protocols.ALL
  hub_files = ()

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    chosen = options.read(Options, settings, self.name)
    if chosen.vqa and has_judge:
      raise ValueError("dpg: got --judge and --set vqa, expected one of them.")
    if not chosen.results and not chosen.vqa and not has_judge:
      raise ValueError(
        "dpg: got nobody who answers; give --judge=..., --set vqa=MODEL, or the"
        " official scorer's file (--set results=RES.txt). The pictures are made"
        " without (--only=generate)."
      )
    options.check_exists("results", chosen.results)
    if not chosen.vqa and not has_judge:
      return
    if chosen.vqa:
      detector.library("torch")  # it raises
    items = list(prompts.read(data, chosen.partial))
    if _questions(data, chosen, items) is None:
      raise ValueError(
        f"dpg: got no {questions_lib.NAME}, expected it in --data, or --set"
        " questions=FILE."
      )

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Wanted]:
    chosen = options.read(Options, settings, self.name)
    found = prompts.read(data, chosen.partial)
    return layout.wanted(found, chosen.samples, chosen.seed)

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    chosen = options.read(Options, settings, self.name)
    found = prompts.read(data, chosen.partial)
    layout.finish(out, found, chosen.samples)

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark.Result:
    self.check(data, settings, judge is not None)
    chosen = options.read(Options, settings, self.name)
    items = list(prompts.read(data, chosen.partial))
    questions = _questions(data, chosen, items)
    report = _Report(chosen, questions, items)
    if chosen.results:
      report.add_official(chosen.results)
    if chosen.vqa or judge is not None:
      answerer = vqa.Transformers(chosen.vqa) if chosen.vqa else judge
      of_items = {item: questions.items[item] for item in items}
      answers = scoring.run(
        out, of_items, chosen.samples, answerer, chosen.attempts
      )
      report.add_own(answers, answerer.identity)
    return report.result()


def _questions(
  data: pathlib.Path, chosen: Options, items: list[str]
) -> questions_lib.Questions | None:
  """The questions, if there are any; they must be of all items."""
  folder = data if data.is_dir() else data.parent
  places = (chosen.questions, folder / questions_lib.NAME,
            folder.parent / questions_lib.NAME)  # fmt: skip
  path = next((p for p in places if p is not None and p.is_file()), None)
  if chosen.questions is not None and path != chosen.questions:
    raise ValueError(
      f"--set questions={chosen.questions}: got no such file, expected"
      f" DPG-Bench's {questions_lib.NAME}."
    )
  if path is None:
    return None
  found = questions_lib.read(path)
  if missing := [item for item in items if item not in found.items]:
    raise ValueError(
      f"{path}: got no questions about {missing[:20]}; give the file that"
      " belongs to the prompts"
    )
  return found


class _Report:
  """Gathers columns and what is to be said of them."""

  def __init__(
    self,
    chosen: Options,
    questions: questions_lib.Questions | None,
    items: list[str],
  ):
    self._chosen, self._questions, self._items = chosen, questions, items
    self._table: list[benchmark.Score] = []
    self._notes = []
    if questions is not None:
      self._notes += _oddities(questions)
    self._scorer = ""
    self._official: dict[str, scores.Pictures] | None = None

  def add_official(self, path: pathlib.Path) -> None:
    read = raw.read_scores(path)
    self._scorer = str(path)
    if not self._chosen.is_compat:
      self._notes.append(protocols.NOTE)
    if unknown := sorted(set(read.means) - set(self._items)):
      raise ValueError(
        f"{path}: got scores of {unknown[:20]}, which the prompts do not have;"
        " give the files that belong together"
      )
    if missing := len(self._items) - len(read.means):
      self._notes.append(
        f"{missing} prompts have no score in {path.name}: as released they are"
        " left out, else what is known of their pictures counts, and 0 if"
        " nothing is."
      )
    detail = raw.detail_of(path)
    if self._questions is None or not detail.is_file():
      self._notes.append(
        f"Without {questions_lib.NAME} and {detail.name} the categories are"
        " those that the script printed."
      )
      metric = "" if self._chosen.is_compat else _METRIC
      self._table += official.from_scores(
        read, len(self._items), metric, _METRIC if not metric else _RELEASED
      )
      return
    self._official = official.answers(
      detail, self._questions, self._items, self._chosen.samples
    )
    wrong = official.contradictions(read, self._questions, self._official)
    if wrong:
      self._notes.append(
        f"{len(wrong)} prompts have other scores in {path.name} than their"
        f" answers in {detail.name} come to, e.g. {', '.join(wrong[:3])}."
      )
    self._add(self._official, _METRIC)

  def add_own(self, answers: dict[str, scores.Pictures], identity: str) -> None:
    if self._official is not None:
      agreed = agreement.scores(
        scoring.verdicts(self._official), scoring.verdicts(answers),
        sum(len(self._questions.items[item]) for item in self._items)
        * self._chosen.samples,
      )  # fmt: skip
    else:
      agreed = []
    self._add(answers, _OWN if self._scorer else _METRIC)
    self._table += agreed
    self._notes += _gaps(answers, self._questions.items)
    self._notes.append(
      f"Answered here by {identity}, not by mPLUG: compare these numbers with"
      " each other, not with published ones."
    )
    self._scorer = self._scorer or identity

  def result(self) -> benchmark.Result:
    return benchmark.Result(
      benchmark=DpgBench.name,
      protocol=protocols.chosen(self._chosen.protocol, self._chosen.compat),
      official=self._chosen.results is not None,
      scorer=self._scorer,
      scores=self._table,
      notes=self._notes,
    )

  def _add(self, answers: dict[str, scores.Pictures], metric: str) -> None:
    """A column, and beside the first one that of the official script."""
    released = self._questions.released
    if self._chosen.is_compat:
      self._table += scores.as_released(released, answers, metric)
      return
    items = {item: self._questions.items[item] for item in self._items}
    self._table += scores.repaired(items, answers, metric)
    if metric == _METRIC:
      self._table += scores.as_released(released, answers, _RELEASED)


def _oddities(questions: questions_lib.Questions) -> list[str]:
  """Contradictions in the file of questions, and what counts instead."""
  said = list(questions.oddities)
  if not said:
    return []
  return [
    f"{len(said)} questions contradict others; what counts:"
    f" {'; '.join(said[:5])}."
  ]


def _gaps(
  answers: Mapping[str, scores.Pictures], items: questions_lib.Items
) -> list[str]:
  """What is missing, in words."""
  pictures = [
    (item, answered) for item, some in answers.items() for answered in some
  ]
  absent = sum(answered is None for _, answered in pictures)
  unanswered = sum(
    len(items[item]) - len(answered)
    for item, answered in pictures
    if answered is not None
  )
  notes = []
  if absent:
    notes.append(f"{absent} pictures are missing and count 0.")
  if unanswered:
    notes.append(
      f"{unanswered} questions got no answer; they and what depends on them are"
      " in no mean, and as released their prompts are left out."
    )
  return notes


BENCHMARK = DpgBench()
