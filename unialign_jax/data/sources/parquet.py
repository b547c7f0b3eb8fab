"""Rows of parquet files by number, one row group in memory at a time."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import dataset_files

# Read in small batches: Arrow cannot hold over 2 GiB of pictures in one.
_BATCH_ROWS = 64
# Pictures do not shrink and texts shrink some tenfold; runs of equal values
# shrink a million times.
_MAX_EXPANSION = 100
_ALWAYS_FITS = 2**28  # bytes, however small the file
_COLUMN_ROWS = 2**14  # of texts and numbers


def find(
  root: str | os.PathLike, pattern: str = "**/*.parquet"
) -> list[epath.Path]:
  """The parquet files under `root`, sorted.

  Args:
    root: A folder, or one file.
    pattern: Of the paths relative to `root`; `**/` stands for any folders.

  Raises:
    SourceError: there is none.
  """
  paths = dataset_files.find(root, pattern)
  if not paths:
    raise base.SourceError(
      f"{os.fspath(root)}: got no file that matches {pattern!r}, expected"
      " parquet files; give the folder that the data set was downloaded to"
    )
  return paths


def image(cell: Any) -> bytes | None:
  """The encoded picture of a cell, or None where there is none.

  Args:
    cell: Of an image column: a struct with `bytes`, or the bytes themselves.

  Raises:
    SourceError: the cell is neither.
  """
  if isinstance(cell, dict) and "bytes" in cell:
    cell = cell["bytes"]
  if cell is not None and not isinstance(cell, bytes):
    raise base.SourceError(
      f"got an image cell of {type(cell).__name__}, expected bytes or a struct"
      " with the field bytes; give the files that have the pictures in them"
    )
  return cell


class Rows:
  """Random access to the rows of many files, cheap in order.

  Opening reads the footers alone. Not for several threads at once.

  Args:
    paths: Of the files; their order is the order of the rows.
    columns: Top-level columns that `__getitem__` returns.
    optional: Further ones, None in the rows of files that lack them.

  Raises:
    SourceError: a file is not parquet, or a column is missing.
  """

  def __init__(
    self,
    paths: Sequence[epath.Path],
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
  ):
    self._files = [dataset_files.LazyFile(epath.Path(p)) for p in paths]
    self._stems = dataset_files.stems([file.path for file in self._files])
    self._columns = tuple(columns)
    self._optional = tuple(optional)
    footers = dataset_files.in_threads(_footer, self._files)
    self._names = [names for _, names in footers]
    for file, names in zip(self._files, self._names):
      _check_columns(file, self._columns, names)
    sizes = [size for sizes, _ in footers for size in sizes]
    self._group_starts = np.cumsum([0, *sizes])
    # The file of each row group, and the first row group of each file.
    counts = [len(sizes) for sizes, _ in footers]
    self._group_files = np.repeat(np.arange(len(counts)), counts)
    self._file_groups = np.cumsum([0, *counts])
    self._open: tuple[tuple[int, int], pq.ParquetFile] | None = None
    self._group: tuple[int, pa.Table] | None = None

  def __len__(self) -> int:
    return int(self._group_starts[-1])

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`: every asked column by name."""
    group = self._group_of(index)
    if self._group is None or self._group[0] != group:
      self._group = None  # frees it before the next one is read
      self._group = (group, self._read(group))
    offset = index - int(self._group_starts[group])
    row = self._group[1].slice(offset, 1)
    return {
      name: values(row[name])[0] if name in row.column_names else None
      for name in self._columns + self._optional
    }

  def name(self, index: int) -> str:
    """Where a row is from: the file's stem and the row in the file."""
    file = int(self._group_files[self._group_of(index)])
    start = int(self._group_starts[self._file_groups[file]])
    return f"{self._stems[file]}/{index - start}"

  def column(self, name: str) -> list[Any]:
    """The values of one column in all rows; no other column is read.

    Args:
      name: Of a column, or "a.b" for field b of the struct column a.

    Raises:
      SourceError: a file lacks it and its column is not an optional one.
    """
    parts = dataset_files.in_threads(
      lambda number: self._column(name, number), range(len(self._files))
    )
    return list(itertools.chain.from_iterable(parts))

  def _column(self, name: str, number: int) -> list[Any]:
    """The column in one file."""
    file, names = self._files[number], self._names[number]
    head, *fields = [name] if name in names else name.split(".")
    if head not in names and head in self._optional:
      first, last = self._file_groups[number : number + 2]
      rows = self._group_starts[last] - self._group_starts[first]
      return [None] * int(rows)
    _check_columns(file, (head,), names)
    with file.path.open("rb") as handle:
      parquet = _parquet(file, handle)
      table = _table(file, parquet, None, [name], _COLUMN_ROWS)
    if not table.num_columns:
      raise base.SourceError(
        f"{file.path}: got no field {name!r}, expected it in column {head!r};"
        " check that these are the files of this data set"
      )
    column = table[head]
    for field in fields:
      column = pc.struct_field(column, field)
    return values(column)

  def _group_of(self, index: int) -> int:
    if not 0 <= index < len(self):
      raise IndexError(f"got row {index}, expected 0 to {len(self) - 1}")
    return int(np.searchsorted(self._group_starts, index, side="right")) - 1

  def _read(self, group: int) -> pa.Table:
    """The asked columns of one row group."""
    number = int(self._group_files[group])
    parquet = self._parquet_of(number)
    names = set(self._columns + self._optional) & set(self._names[number])
    groups = [group - int(self._file_groups[number])]
    return _table(
      self._files[number], parquet, groups, sorted(names), _BATCH_ROWS
    )

  def _parquet_of(self, number: int) -> pq.ParquetFile:
    """Opens a file and closes the one before; anew in a forked process."""
    key = (os.getpid(), number)
    if self._open is None or self._open[0] != key:
      if self._open is not None:
        self._files[self._open[0][1]].close()
      file = self._files[number]
      self._open = (key, _parquet(file, file.open()))
    return self._open[1]

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {"_open": None, "_group": None}


def values(column: pa.ChunkedArray) -> list[Any]:
  """A column as Python values.

  Bytes of a text that are no UTF-8 are passed through (surrogateescape), to be
  rejected with their own row.
  """
  try:
    return column.to_pylist()
  except UnicodeDecodeError:
    return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
  if not scalar.is_valid:
    return None
  if isinstance(scalar, pa.StringScalar | pa.LargeStringScalar):
    return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
  if isinstance(scalar, pa.StructScalar):
    return {name: _value(scalar[name]) for name in scalar}
  if isinstance(scalar, pa.ListScalar):  # the larger ones are subclasses
    return [_value(each) for each in scalar.values]
  if isinstance(scalar, pa.DictionaryScalar):
    return _value(scalar.value)
  return scalar.as_py()


def _table(
  file: dataset_files.LazyFile,
  parquet: pq.ParquetFile,
  groups: Sequence[int] | None,
  columns: Sequence[str],
  batch_rows: int,
) -> pa.Table:
  """Some columns of some row groups, as far as they fit what the file has."""
  limit = max(_ALWAYS_FITS, _MAX_EXPANSION * file.path.stat().length)
  metadata = parquet.metadata

  def read() -> pa.Table:
    asked = range(metadata.num_row_groups) if groups is None else groups
    size = sum(metadata.row_group(n).total_byte_size for n in asked)
    batches = []
    if size <= limit:
      size = 0  # so far only what the file says
      for batch in parquet.iter_batches(
        batch_size=batch_rows, row_groups=asked, columns=columns
      ):
        batches.append(batch)
        size += batch.nbytes
        if size > limit:
          break
    if size > limit:
      raise pa.ArrowInvalid(f"over {limit} bytes out of so small a file")
    if not (batches or metadata.num_rows):
      return parquet.read(columns=columns)
    return pa.Table.from_batches(batches)

  return _reading(file, read)


def _footer(file: dataset_files.LazyFile) -> tuple[list[int], list[str]]:
  """Rows of each row group, and the names of the columns."""
  with file.path.open("rb") as handle:
    parquet = _parquet(file, handle)
    groups = range(parquet.metadata.num_row_groups)
    sizes = [parquet.metadata.row_group(n).num_rows for n in groups]
    return sizes, parquet.schema_arrow.names


def _parquet(file: dataset_files.LazyFile, handle: Any) -> pq.ParquetFile:
  return _reading(file, lambda: pq.ParquetFile(handle))


def _reading(file: dataset_files.LazyFile, read: Any) -> Any:
  """What `read` returns; Arrow's errors name the file."""
  try:
    return read()
  # Arrow raises plain ones too, for numbers of a footer that make no sense.
  except (pa.ArrowException, OSError, ValueError, ArithmeticError) as e:
    raise base.SourceError(
      f"{file.path}: got {e}, expected a whole parquet file; download it"
      " again (a file of some 130 bytes is a Git LFS pointer: `git lfs pull`)"
    ) from e


def _check_columns(
  file: dataset_files.LazyFile, columns: Sequence[str], names: Sequence[str]
) -> None:
  missing = sorted(set(columns) - set(names))
  if missing:
    raise base.SourceError(
      f"{file.path}: got columns {sorted(names)}, expected {missing} too;"
      " check that these are the files of this data set"
    )
