"""Every ability of the paper on the Shapes world, scored without a judge.

Text-to-image by GenEval's six tasks, the nine kinds of edit of ImgEdit-Bench,
canny, depth and pose maps, one and two subjects, captions, and questions of
nine kinds. The verifier reads pictures from their pixels; texts are compared
with the scene. See docs/benchmarks.md.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals import benchmark
from unialign_jax.evals import options
from unialign_jax.evals import tally
from unialign_jax.evals import texts as texts_lib
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.shapes import drawing
from unialign_jax.evals.shapes import items
from unialign_jax.evals.shapes import rows
from unialign_jax.evals.shapes import writing
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import scene as scenes

# What is not there has the worst of each metric.
_WORST = collections.defaultdict(float, {rows.ERROR: 1.0})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What --set knows.

  Attributes:
    samples: of each row; a GenEval task with few prompts has fewer.
    seed: of scenes, texts and noise.
    world: of `feature_sets.WORLDS`: which scenes, and how long texts are.
    abilities: of `rows.ABILITIES`, with commas between; "" for all.
  """

  samples: int = 64
  seed: int = 0
  world: str = "wide"
  abilities: str = ""

  def __post_init__(self) -> None:
    if self.samples < 1 or self.seed < 0:
      raise ValueError(
        f"--set: got samples={self.samples}, seed={self.seed}; expected at"
        " least 1 and 0."
      )
    if self.world not in feature_sets.WORLDS:
      raise ValueError(
        f"--set world: got {self.world!r}, expected one of"
        f" {tuple(feature_sets.WORLDS)}."
      )
    unknown = sorted(set(self.chosen) - set(rows.ABILITIES))
    if unknown:
      raise ValueError(
        f"--set abilities: got {unknown}, expected some of {rows.ABILITIES}."
      )

  @property
  def chosen(self) -> tuple[str, ...]:
    names = tuple(filter(None, self.abilities.split(",")))
    return names or rows.ABILITIES

  def drawn(self) -> list[items.Drawn]:
    made = (self.samples, self.seed, self.world)
    return [
      item
      for ability in rows.ABILITIES
      if ability in self.chosen and ability != "understanding"
      for item in drawing.drawn(ability, *made)
    ]

  def written(self) -> list[items.Written]:
    if "understanding" not in self.chosen:
      return []
    return list(writing.written(self.samples, self.seed, self.world))


class Shapes:
  """See `benchmark.Benchmark`."""

  name = "shapes"
  known_protocols = ("verifier",)
  hub_files = ()

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    """Nothing: the verifier needs nobody."""

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Wanted]:
    if data is not None:
      raise ValueError(
        f"--data: got {data}, expected none; shapes makes its own scenes."
      )
    chosen = options.read(Options, settings, self.name)
    return [
      benchmark.Wanted(
        path=item.path,
        text=item.text,
        images=tuple(items.png(image) for image in item.conditions),
        seed=chosen.seed + item.index,
        group=item.row,
      )
      for item in chosen.drawn()
    ]

  def asked(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[benchmark.Asked]:
    del data
    chosen = options.read(Options, settings, self.name)
    return [
      benchmark.Asked(
        key=item.key,
        picture=items.png(item.picture),
        question=item.question,
        seed=item.seed,
        group=item.row,
      )
      for item in chosen.written()
    ]

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    """Nothing: no other program scores these pictures."""

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> benchmark.Result:
    del data, judge
    chosen = options.read(Options, settings, self.name)
    drawn, written = chosen.drawn(), chosen.written()
    texts = texts_lib.read(out)
    marked = [(item, _mark_picture(out / item.path, item)) for item in drawn]
    marked += [(item, _mark_text(texts, item)) for item in written]
    missing = sum(marks is None for _, marks in marked)
    notes = [
      f"samples={chosen.samples}, seed={chosen.seed}, world={chosen.world}.",
      "Numbers of the Shapes world: no published ones compare with them.",
    ]
    if missing:
      notes.append(f"{missing} pictures and texts are missing and count as 0.")
    return benchmark.Result(
      benchmark=self.name,
      protocol=self.known_protocols[0],
      official=True,
      scorer="unialign_jax.shapes.verifier, from pixels and words alone",
      scores=_table(marked, chosen),
      notes=notes,
    )


def _mark_picture(path: pathlib.Path, item: items.Drawn) -> items.Marks | None:
  """The marks of a file; None where it is missing.

  Raises:
    ValueError: a file that is no picture.
  """
  if not path.exists():
    return None
  try:
    with Image.open(path, formats=picture_files.FORMATS) as image:
      picture = image.convert("RGB")
  except OSError as error:
    raise ValueError(
      f"{path}: got no picture ({error}), expected the PNG that was drawn;"
      " delete it and draw it again."
    ) from error
  side = (scenes.CANVAS, scenes.CANVAS)
  if picture.size != side:
    picture = picture.resize(side, Image.Resampling.BOX)
  return item.mark(np.asarray(picture))


def _mark_text(
  texts: Mapping[str, str], item: items.Written
) -> items.Marks | None:
  return item.mark(texts[item.key]) if item.key in texts else None


Marked = Sequence[tuple[items.Drawn | items.Written, items.Marks | None]]


def _table(marked: Marked, chosen: Options) -> list[benchmark.Score]:
  table: list[benchmark.Score] = []
  by_row: dict[str, list] = {}
  for item, marks in marked:
    by_row.setdefault(item.row, []).append((item, marks))
  for ability in rows.ABILITIES:
    names = [row for row in rows.of(ability) if row in by_row]
    for row in names:
      table += _row(row, by_row[row])
    judged = [row for row in names if row != rows.CAPTIONS]
    if len(judged) > 1 and ability in _HAVE_OVERALL:
      group = rows.OVERALL.format(ability=ability)
      table += _overall(group, [by_row[row] for row in judged])
  return table


# Abilities whose rows are of one kind, so that their mean means something.
_HAVE_OVERALL = ("generation", "editing", "understanding")


def _row(row: str, marked: Marked) -> list[benchmark.Score]:
  found = [
    _counted(tally.mean(row, metric, _units(marked, metric)), marked)
    for metric in _metrics(marked)
  ]
  texts = [item for item, _ in marked if isinstance(item, items.Written)]
  return found + ([_constant(row, texts)] if texts else [])


def _overall(group: str, parts: Sequence[Marked]) -> list[benchmark.Score]:
  """The unweighted mean of rows, of each metric that all of them have."""
  everything = [one for marked in parts for one in marked]
  return [
    _counted(
      tally.mean_of_groups(
        group, metric, [_units(marked, metric) for marked in parts]
      ),
      everything,
    )
    for metric in _metrics(everything)
  ]


def _metrics(marked: Marked) -> list[str]:
  """In order; a row where everything is missing still has its score."""
  found = (list(marks) for _, marks in marked if marks is not None)
  return next(found, [rows.SCORE])


def _units(marked: Marked, metric: str) -> list[float]:
  """The values that a bootstrap draws from: means over what goes together."""
  by_unit: dict[int, list[float]] = {}
  for item, marks in marked:
    value = _WORST[metric] if marks is None else marks[metric]
    unit = item.unit if isinstance(item, items.Drawn) else item.index
    by_unit.setdefault(unit, []).append(value)
  return [float(np.mean(values)) for values in by_unit.values()]


def _counted(score: benchmark.Score, marked: Marked) -> benchmark.Score:
  """With pictures or texts counted, those that are missing as not scored."""
  there = sum(marks is not None for _, marks in marked)
  return dataclasses.replace(score, scored=there, expected=len(marked))


def _constant(row: str, texts: Sequence[items.Written]) -> benchmark.Score:
  """What the best single text for all pictures of a row would get."""
  shares = [
    float(np.mean([item.mark(text)[rows.SCORE] for item in texts]))
    for text in {item.target for item in texts}
  ]
  return benchmark.Score(
    group=row,
    metric=rows.CONSTANT,
    value=max(shares),
    scored=len(texts),
    expected=len(texts),
  )


BENCHMARK = Shapes()
