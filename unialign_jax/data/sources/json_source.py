"""A source over JSON rows that name their pictures by path."""

import array
import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from unialign_jax.data.sources import base
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars

# The part of rows whose parts cannot be told.
_UNKNOWN = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A row, and what makes samples of it.

  Attributes:
    fields: As in the file.
    part: Which of the row's samples is asked for, one of `Format.parts`.
    key: Of the sample.
    source: Data set and part.
    license: Of the data set.
    tree: Holds the pictures.
  """

  fields: Mapping[str, Any]
  part: int
  key: str
  source: str
  license: str
  tree: tars.Tree

  def pictures(self, paths: Iterable[Any]) -> tuple[base.Picture, ...]:
    """The pictures at those paths.

    Raises:
      Rejection: a path is null, or leads nowhere.
    """
    return tuple(self._picture(path) for path in paths)

  def _picture(self, path: Any) -> base.Picture:
    if path is None or path == "":
      raise rejection.Rejection("null image")
    if not isinstance(path, str):
      raise rejection.Rejection("null image", f"got {path!r}, expected a path")
    try:
      data = self.tree.read(path)
    except KeyError as e:
      raise rejection.Rejection("missing file", path) from e
    if not data:
      raise rejection.Rejection("null image", f"{path} is empty")
    return base.Picture(data)


class Format(Protocol):
  """What rows mean. Picklable; both methods may raise `Rejection`."""

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    """Numbers >= 0 of the row's samples; none: the row is of another group."""

  def build(self, row: Row) -> base.Raw:
    """The sample of `row.part`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A file of rows.

  Attributes:
    rows: Read one at a time.
    tree: Holds the pictures.
    format: What the rows mean.
    name: Of the file, for keys; unique within the source.
    source: Data set and part.
    license: Of the data set.
  """

  rows: jsonl.Rows
  tree: tars.Tree
  format: Format
  name: str
  source: str
  license: str


class JsonSource:
  """The samples of some tables, in their order.

  All rows are read once when it is opened, to know which samples they give;
  24 bytes a sample stay in memory. A row that cannot be read, or whose group
  cannot be told, is rejected whichever group was asked for.

  Args:
    tables: At least one.

  Raises:
    SourceError: no sample in any table, or two tables of one name.
  """

  def __init__(self, tables: Sequence[Table]):
    self._tables = tuple(tables)
    names = [table.name for table in self._tables]
    if twice := {name for name in names if names.count(name) > 1}:
      raise base.SourceError(
        f"got several files named {sorted(twice)}, expected one each, so that"
        " keys are unique; rename them"
      )
    index = array.array("q")
    for number, table in enumerate(self._tables):
      for row in range(len(table.rows)):
        for part in _parts(table, row):
          index.extend((number, row, part))
    self._index = np.array(index, np.int64).reshape(-1, 3)
    if not len(self._index):
      raise base.SourceError(
        f"{', '.join(names)}: got no row of the kind asked for, expected at"
        " least one; check the options"
      )

  def __len__(self) -> int:
    return len(self._index)

  def __getitem__(self, index: int) -> base.Item:
    number, row, part = (int(n) for n in self._index[index])
    table = self._tables[number]
    key = f"{table.name}/{table.rows.number(row)}"
    if part > 0:
      key = f"{key}/{part}"
    try:
      fields = _fields(table, row)
      if part == _UNKNOWN:
        table.format.parts(fields)  # raises again, now to be reported
      return table.format.build(
        Row(
          fields=fields,
          part=part,
          key=key,
          source=table.source,
          license=table.license,
          tree=table.tree,
        )
      )
    except rejection.Rejection as e:
      return base.Rejected(
        key=key, source=table.source, reason=e.reason, detail=e.detail
      )


def _parts(table: Table, row: int) -> Iterable[int]:
  try:
    return table.format.parts(_fields(table, row))
  except rejection.Rejection:
    return (_UNKNOWN,)


def _fields(table: Table, row: int) -> Mapping[str, Any]:
  try:
    return table.rows[row]
  except ValueError as e:
    raise rejection.Rejection("damaged row", str(e)) from e


def value(fields: Mapping[str, Any], *names: str) -> Any:
  """What the row has under the first of the names that it has.

  Raises:
    Rejection: it has none of them.
  """
  for name in names:
    if name in fields:
      return fields[name]
  raise rejection.Rejection(
    "missing key", f"got {sorted(fields)}, expected {' or '.join(names)}"
  )


def text(got: Any, empty: str = "empty instruction") -> str:
  """A text less the white space around it.

  Raises:
    Rejection: null, blank, or no text; the reason is `empty`.
  """
  if not isinstance(got, str) or not got.strip():
    raise rejection.Rejection(empty, f"got {got!r}")
  return got.strip()


def paths(got: Any) -> list[Any]:
  """A list of paths, where one path may stand for itself and null for none.

  Raises:
    Rejection: something else.
  """
  if got is None:
    return []
  if isinstance(got, str):
    return [got]
  if not isinstance(got, list):
    raise rejection.Rejection("null image", f"got {got!r}, expected paths")
  return got
