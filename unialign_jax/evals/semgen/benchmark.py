"""SemGen-Bench (arXiv 2509.23760, Table 4), scored by a judge.

A folder holds the pictures once, whatever they are judged by:

  fullset/*/*.png           the pictures, and the sources of edits
  judgements.jsonl          every reply of every judge
  samples-PROTOCOL.jsonl    a line a picture
  table-PROTOCOL.md         the layout of Table 4
  best_worst-PROTOCOL.png   a few of each group
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from PIL import Image

from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.evals import options
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import judging
from unialign_jax.evals.semgen import layout
from unialign_jax.evals.semgen import samples as samples_lib
from unialign_jax.evals.semgen import sheet
from unialign_jax.evals.semgen import table

JUDGEMENTS = "judgements.jsonl"
_GUIDANCE = {False: 7.0, True: 9.0}  # by `Group.is_edit`
_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Settings:
  """What --set and --protocol say.

  Attributes:
    protocol: "release" judges drawn pictures with the rubric of edits, as the
      authors' scorer does; "paper" by how they follow the prompt.
    seed: of the first picture of each group; the authors set none.
    negative: what guidance leads away from.
    items: lines that the data has to have.
    limit: the first so many lines alone, to try things out; 0 for all.
    attempts: most replies of the judge to one question.
  """

  protocol: str = "release"
  seed: int = 0
  negative: str = ""
  items: int = dataset.SIZE
  limit: int = 0
  attempts: int = 3


class SemGenBench:
  """See `benchmark.Benchmark`."""

  name = "semgen"
  known_protocols = tuple(judging.PROTOCOLS)
  hub_files = ()

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    del data
    _settings(settings)
    if not has_judge:
      raise ValueError(
        "semgen: got no judge, expected --judge=URL --judge_model=NAME, or"
        " --judge=local:FOLDER. The pictures are made without"
        " (--only=generate)."
      )

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark_lib.Wanted]:
    chosen = _settings(settings)
    _, items = _items(data, chosen)
    return [
      benchmark_lib.Wanted(
        path=layout.picture(group, item.key),
        text=item.prompts[group.field],
        images=(item.photograph,) if group.is_edit else (),
        seed=chosen.seed + item.key,
        group=group.name,
        guidance=_GUIDANCE[group.is_edit],
        steps=_STEPS,
        framing="squash",
        negative=chosen.negative,
      )
      for group in dataset.GROUPS
      for item in items
    ]

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    _, items = _items(data, _settings(settings))
    edits = [group for group in dataset.GROUPS if group.is_edit]
    for item in items:
      paths = [out / layout.source(group, item.key) for group in edits]
      if not all(path.exists() for path in paths):
        _save(layout.squashed(item.photograph), paths)

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark_lib.Result:
    self.check(data, settings, judge is not None)
    chosen = _settings(settings)
    data_read, items = _items(data, chosen)
    with ledger_lib.Ledger(out / JUDGEMENTS) as ledger:
      samples = judging.judged(
        out,
        items,
        judge,
        ledger,
        protocol=chosen.protocol,
        attempts=chosen.attempts,
      )
    result = benchmark_lib.Result(
      benchmark=self.name,
      protocol=chosen.protocol,
      official=False,
      scorer=f"{judge.identity} (asked with {judge.libraries})",
      scores=samples_lib.scores(samples),
      notes=_notes(chosen, data_read, samples),
    )
    _write(out, items, samples, result)
    return result


def _settings(given: Mapping[str, Any]) -> Settings:
  chosen = options.read(Settings, given, SemGenBench.name)
  if chosen.protocol not in judging.PROTOCOLS:
    raise ValueError(
      f"--protocol: got {chosen.protocol!r}, expected one of"
      f" {', '.join(judging.PROTOCOLS)}"
    )
  if chosen.limit < 0 or chosen.items < 1 or chosen.attempts < 1:
    raise ValueError(
      f"--set: got limit={chosen.limit}, items={chosen.items},"
      f" attempts={chosen.attempts}, expected them to be at least 0, 1 and 1"
    )
  return chosen


def _items(
  data: pathlib.Path | None, chosen: Settings
) -> tuple[dataset.Dataset, Sequence[dataset.Item]]:
  """All of the data, and what is used of it."""
  found = dataset.load(data, chosen.items)
  return found, found.items[: chosen.limit or None]


def _save(image: Image.Image, paths: Sequence[pathlib.Path]) -> None:
  for path in paths:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    image.save(part, "PNG")
    part.replace(path)


def _notes(
  chosen: Settings,
  data: dataset.Dataset,
  samples: Sequence[samples_lib.Sample],
) -> list[str]:
  """What a reader of the table must know."""
  whose = "as the authors released them" if data.is_released else "not theirs"
  notes = [
    f"The prompts have sha256 {data.sha256}, {whose}.",
    "The rubrics are VIEScore's in other words: only numbers of one judge and"
    " one version of this project can be compared.",
  ]
  if chosen.limit:
    notes.append(
      f"Only the first {chosen.limit} of {chosen.items} lines are in this, so"
      " these are not numbers of the benchmark."
    )
  zeros = [one for one in samples if one.status in judging.ABSENT]
  if zeros:
    notes.append(f"{len(zeros)} pictures are missing and count 0.")
  unjudged = samples_lib.unjudged(samples)
  if unjudged:
    reasons = ", ".join(f"{n} by {why}" for why, n in unjudged.items())
    notes.append(
      f"{sum(unjudged.values())} pictures got no score and are in no mean:"
      f" {reasons}."
    )
  return notes


def _write(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  samples: Sequence[samples_lib.Sample],
  result: benchmark_lib.Result,
) -> None:
  """What is beside `results.json`."""
  table.write_samples(out / f"samples-{result.protocol}.jsonl", items, samples)
  table.write(out / f"table-{result.protocol}.md", result, folder.times(out))
  sheet.write(out / f"best_worst-{result.protocol}.png", out, items, samples)


BENCHMARK = SemGenBench()
