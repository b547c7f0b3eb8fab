"""A source over rows of parquet files."""

import dataclasses
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import rejection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A row, and what makes a sample of it.

  Attributes:
    fields: By column.
    part: Which of the row's samples is asked for.
    key: Of the sample.
    source: Data set and part.
  """

  fields: Mapping[str, Any]
  part: int
  key: str
  source: str

  def picture(
    self, column: str, box: tuple[int, int, int, int] | None = None
  ) -> base.Picture:
    """The picture of an image column.

    Raises:
      Rejection: there is none.
    """
    data = parquet.image(self.fields[column])
    if not data:
      raise rejection.Rejection("null image", column)
    return base.Picture(data, box)

  def text(self, column: str, reason: str = "empty instruction") -> str:
    """A text less the white space around it.

    Raises:
      Rejection: null or blank, with that reason.
    """
    return text(self.fields[column], reason)


class Format(Protocol):
  """What the rows of a data set mean. Picklable."""

  def source(self, fields: Mapping[str, Any]) -> str:
    """Data set and part of a row."""

  def build(self, row: Row) -> base.Raw:
    """The sample; raises Rejection."""


class Table(Protocol):
  """Rows by number, as `parquet.Rows`. Picklable."""

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    """Row `index`."""

  def name(self, index: int) -> str:
    """Unique name of row `index`, for keys."""


class ParquetSource:
  """Samples of chosen rows, in their order.

  Args:
    table: The rows.
    format: What they mean.
    rows: Number of each sample's row.
    parts: Where rows give several samples: number of each within its row;
      goes into the key.

  Raises:
    SourceError: no samples.
  """

  def __init__(
    self,
    table: Table,
    format: Format,
    rows: Sequence[int] | np.ndarray,
    parts: Sequence[int] | np.ndarray | None = None,
  ):
    self._table = table
    self._format = format
    self._rows = np.asarray(rows, np.int64)
    self._parts = None if parts is None else np.asarray(parts, np.int64)
    if not len(self._rows):
      raise base.SourceError(
        "got parquet files without a row of the kind asked for, expected at"
        " least one; check the options and that all files are there"
      )

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> base.Item:
    number = int(self._rows[index])
    key = self._table.name(number)
    part = 0
    if self._parts is not None:
      part = int(self._parts[index])
      key = f"{key}/{part}"
    fields = self._table[number]
    source = self._format.source(fields)
    try:
      return self._format.build(
        Row(fields=fields, part=part, key=key, source=source)
      )
    except rejection.Rejection as e:
      return base.Rejected(
        key=key, source=source, reason=e.reason, detail=e.detail
      )


def open_rows(
  root: str | os.PathLike,
  pattern: str,
  columns: Sequence[str],
  *,
  optional: Sequence[str] = (),
) -> parquet.Rows:
  """The rows of all files under `root` that match `pattern`.

  Raises:
    SourceError: no files, or missing columns.
  """
  return parquet.Rows(parquet.find(root, pattern), columns, optional=optional)


def pick(
  values: Sequence[str | None], wanted: str | Sequence[str], option: str
) -> np.ndarray:
  """Numbers of the rows whose value is wanted; nothing wanted: of all rows.

  Args:
    values: One a row.
    wanted: One of them, or several.
    option: Its name, for the message.

  Raises:
    SourceError: a wanted value that no row has.
  """
  names = {wanted} if isinstance(wanted, str) else set(wanted)
  if not names - {""}:
    return np.arange(len(values))
  if unknown := names - set(values):
    there = sorted(value for value in set(values) if value)
    raise base.SourceError(
      f"{option}: got {sorted(unknown)}, expected some of {there}"
    )
  return np.flatnonzero([value in names for value in values])


def text(value: str | None, reason: str = "empty instruction") -> str:
  """A text less the white space around it.

  Raises:
    Rejection: null or blank, with that reason.
  """
  if not value or not value.strip():
    raise rejection.Rejection(reason, f"got {value!r}")
  return value.strip()


def sentences(texts: Sequence[str]) -> str:
  """Texts one after the other, each with its full stop where it had none."""
  if len(texts) == 1:
    return texts[0]
  return " ".join(
    each if each.endswith((".", "!", "?")) else f"{each}." for each in texts
  )


def at_least(scores: Mapping[str, float], least: Mapping[str, float]) -> None:
  """Checks scores; a least value of 0 turns its check off.

  Raises:
    Rejection: a score is missing or too low.
  """
  for name, bound in least.items():
    score = scores.get(name)
    if bound and not (score is not None and score >= bound):  # NaN is neither
      raise rejection.Rejection(
        f"filtered: {name}",
        f"got {scores.get(name)}, expected at least {bound}",
      )
