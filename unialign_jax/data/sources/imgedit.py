"""ImgEdit: single-turn and multi-turn edits, parquet rows over tars.

Layout: `Parquet/*.parquet` and the pictures in `Singleturn/`, `Multiturn/`,
as tars (published in parts, which are to be joined first) or unpacked.
Columns of single turns: `input_images`, `output_images` (lists of paths) and
`prompt`; of several turns: `data`, a list of structs of those three. There
are no captions.

A turn of several is a sample of its own, with an input picture of its own.
Its prompt may lean on the turns before it, most of all in the part
"version_backtracking". A first turn without pictures is a rule for the whole
row: it goes before the prompts of that row's other turns.
"""

import array
import math
import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import imgedit_files
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import picture_tree
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars

NAME = "imgedit"
LICENSE = "not stated"
MULTI_TURN_PARTS = (
  "content_memory",
  "content_understanding",
  "version_backtracking",
)
_COLUMNS = ("input_images", "output_images", "prompt")
_DATA = "data"
_NO_TURN = dict.fromkeys(_COLUMNS)

# The columns of single turns.
Turn = Mapping[str, Any]


def open_source(
  root: str | os.PathLike,
  *,
  references: int = 1,
  multi_turn: bool = False,
  parts: str | Sequence[str] = (),
  min_score: float = 0,
) -> base.Source:
  """Opens the single turns, or the turns of the multi-turn rows.

  Args:
    root: The folder, as downloaded.
    references: Input pictures, 1 to 4; turns with another number are not in
      the source ("reference_replace" has 2).
    multi_turn: Which of the two.
    parts: Names of parquet files less their `_part` and number, e.g. "add",
      "hybrid", "style_transfer"; none: all.
    min_score: Least of the grades that `all_dataset_gpt_score.json` gives a
      sample. Ungraded samples (nearly half, all of "action") are rejected
      with those below. 0: all samples, and that file is not read.

  Raises:
    SourceError: files or columns are missing, or a bad option.
  """
  if not 1 <= references <= sample_lib.MAX_CONDITIONS:
    raise base.SourceError(
      f"{NAME}: got references={references}, expected 1 to"
      f" {sample_lib.MAX_CONDITIONS}"
    )
  # Not under the whole root, where millions of pictures may lie.
  index = parquet.find(epath.Path(root) / "Parquet")
  paths = [path for path in index if _is_multi(path) == multi_turn]
  names = [imgedit_files.part(path.stem) for path in paths]
  chosen = parquet_source.pick(names, parts, f"{NAME} parts")
  table = _Table([paths[i] for i in chosen], multi_turn)
  grades = imgedit_files.Grades(root) if min_score else None
  scores = array.array("d", [math.nan]) * (len(table) if min_score else 0)
  rows, turns = array.array("q"), array.array("q")
  for row, number, turn in table.turns(references):
    rows.append(row)
    turns.append(number)
    if grades is not None:
      # Of all graded turns of the row; fmin passes over NaN.
      scores[row] = np.fmin(scores[row], _grade(grades, turn))
  return parquet_source.ParquetSource(
    table,
    _Edits(picture_tree.open_tree(root), min_score, scores),
    rows,
    turns if multi_turn else None,
  )


class _Table:
  """Rows that are lists of turns, as many as one."""

  def __init__(self, paths: Sequence[epath.Path], multi_turn: bool):
    self._paths = paths
    self._multi_turn = multi_turn
    self._rows = parquet.Rows(paths, self._columns())

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> dict[str, Any]:
    stem = self.name(index).rsplit("/", 2)[-2]
    turns = self._turns(self._rows[index])
    return {"index": index, "turns": turns, "stem": stem}

  def name(self, index: int) -> str:
    return self._rows.name(index)

  def turns(self, references: int) -> Iterator[tuple[int, int, Turn]]:
    """Row, number and fields of the turns with so many input pictures.

    Those without any are among them, so that they are rejected, not lost.
    """
    start = 0
    # One file at a time: the paths of all would take gigabytes.
    for path in self._paths:
      rows = parquet.Rows([path], self._columns())
      columns = [rows.column(name) for name in self._columns()]
      for row, values in enumerate(zip(*columns), start):
        turns = self._turns(dict(zip(self._columns(), values)))
        first = 1 if _rule(turns) else 0
        for number, turn in enumerate(turns[first:], first):
          if len(turn["input_images"] or ()) in (0, references):
            yield row, number, turn
      start += len(rows)

  def _columns(self) -> tuple[str, ...]:
    return (_DATA,) if self._multi_turn else _COLUMNS

  def _turns(self, fields: Mapping[str, Any]) -> list[Turn]:
    """The turns of a row, at least one."""
    if not self._multi_turn:
      return [fields]
    turns = [turn or _NO_TURN for turn in fields[_DATA] or [None]]
    if missing := sorted(set(_COLUMNS) - set(turns[0])):
      raise base.SourceError(
        f"{NAME}: got turns of {sorted(turns[0])} in column {_DATA!r},"
        f" expected {missing} too; check that these are the files of this"
        " data set"
      )
    return turns


class _Edits:
  """Turns whose pictures lie in a tree.

  Args:
    tree: Holds the pictures.
    min_score: Least grade; 0: any.
    scores: Grade of each row, NaN of those without; none where any will do.
  """

  def __init__(
    self,
    tree: tars.Tree,
    min_score: float,
    scores: Sequence[float],
  ):
    self._tree = tree
    self._least = {"gpt_score": min_score}
    self._scores = scores

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{imgedit_files.part(fields['stem'])}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    turns, stem = row.fields["turns"], row.fields["stem"]
    turn = turns[row.part]
    scores = self._score(row.fields["index"])
    parquet_source.at_least(scores, self._least)
    targets = turn["output_images"] or ()
    if len(targets) != 1:
      raise rejection.Rejection(
        "several targets" if targets else "null image",
        f"got {len(targets)} output_images, expected 1",
      )
    conditions = [self._picture(p, stem) for p in turn["input_images"] or ()]
    if not conditions:
      raise rejection.Rejection("null image", "got no input_images")
    prompts = [parquet_source.text(turn["prompt"])]
    if _rule(turns):
      prompts.insert(0, parquet_source.text(turns[0]["prompt"]))
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=LICENSE,
      caption_source="",
      target=self._picture(targets[0], stem),
      conditions=tuple(conditions),
      instruction=parquet_source.sentences(prompts),
      scores=scores,
    )

  def _score(self, index: int) -> dict[str, float]:
    score = self._scores[index] if self._scores else math.nan
    return {} if math.isnan(score) else {"gpt_score": score}

  def _picture(self, path: str | None, stem: str) -> base.Picture:
    if not path:
      raise rejection.Rejection("null image", f"got {path!r}")
    for place in imgedit_files.places(path, stem):
      try:
        data = self._tree.read(place)
      except KeyError:
        continue
      if not data:
        raise rejection.Rejection("null image", f"{place} is empty")
      return base.Picture(data)
    raise rejection.Rejection("missing file", path)


def _is_multi(path: epath.Path) -> bool:
  return imgedit_files.part(path.stem) in MULTI_TURN_PARTS


def _rule(turns: Sequence[Turn]) -> bool:
  """Whether the first turn is a rule for the others."""
  return len(turns) > 1 and not (
    turns[0]["input_images"] or turns[0]["output_images"]
  )


def _grade(grades: imgedit_files.Grades, turn: Turn) -> float:
  """NaN: there is none."""
  targets = turn["output_images"] or [None]
  least = grades.least(targets[0]) if targets[0] else None
  return math.nan if least is None else least
