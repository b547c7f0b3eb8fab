"""Rows of JSON files, read one at a time: JSON lines and JSON lists.

Opening a file finds where its rows lie; a row is read and parsed when it is
asked for. So a file of millions of rows costs 24 bytes a row, and a copy in
another process costs no more.
"""

import array
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from unialign_jax import strict_json
from unialign_jax.data.sources import base
from unialign_jax.data.sources import dataset_files

_BOM = b"\xef\xbb\xbf"
_SPACE = " \t\r\n"
MAX_LINE_BYTES = 2**26  # pictures may be in there; beyond it is no line


class Rows:
  """Rows at known bytes of a file, see `Lines` and `List`."""

  _unit = "row"

  def __init__(
    self, path: epath.Path, starts: Sequence[int], stops: Sequence[int]
  ):
    self.path = path
    self._starts = np.asarray(starts, np.int64)
    self._stops = np.asarray(stops, np.int64)
    self._file = dataset_files.LazyFile(path)

  def __len__(self) -> int:
    return len(self._starts)

  def number(self, index: int) -> int:
    """What the row is called in keys and errors: its place in the file."""
    return index

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`.

    Raises:
      ValueError: it is not a JSON object.
    """
    if not 0 <= index < len(self):
      raise IndexError(f"{self.path}: got row {index} of {len(self)}")
    start, stop = int(self._starts[index]), int(self._stops[index])
    try:
      row = strict_json.row(self._file.read(start, stop - start))
    except ValueError as e:  # includes text that is not UTF-8
      raise ValueError(f"{self._place(index)}: {e}") from e
    if not isinstance(row, dict):
      raise ValueError(
        f"{self._place(index)}: got {type(row).__name__}, expected an object"
      )
    return row

  def _place(self, index: int) -> str:
    return f"{self.path} {self._unit} {self.number(index)}"


class Lines(Rows):
  """The lines of a JSON-lines file, blank ones left out.

  Args:
    path: Of the file.

  Raises:
    SourceError: no such file, or one without line breaks.
  """

  _unit = "line"

  def __init__(self, path: str | os.PathLike):
    path = _existing(path)
    starts, stops, numbers = (array.array("q") for _ in range(3))
    position = 0
    with path.open("rb") as file:
      lines = iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")
      for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_BYTES:
          raise base.SourceError(
            f"{path} line {number}: got more than {MAX_LINE_BYTES} bytes,"
            " expected one JSON object a line; is it a file of lines?"
          )
        if line.strip():
          starts.append(position)
          stops.append(position + len(line))
          numbers.append(number)
        position += len(line)
    super().__init__(path, starts, stops)
    self._numbers = np.asarray(numbers, np.int64)

  def number(self, index: int) -> int:
    """The number of the line, from 1."""
    return int(self._numbers[index])


class List(Rows):
  """The objects of a file that holds one JSON list.

  Opening it takes twice the file's size in memory, for as long as it takes.

  Args:
    path: Of the file.

  Raises:
    SourceError: no such file, or not a whole JSON list.
  """

  def __init__(self, path: str | os.PathLike):
    path = _existing(path)
    # Latin-1 keeps one character a byte; JSON's own signs are ASCII.
    text = path.read_bytes().decode("latin-1")
    try:
      spans = _spans(text)
    except (ValueError, RecursionError) as e:
      raise base.SourceError(
        f"{path}: got {e}, expected one JSON list of objects; the file is"
        " damaged or cut off, get it again"
      ) from e
    super().__init__(path, [s for s, _ in spans], [e for _, e in spans])


def find(
  root: str | os.PathLike, pattern: str = "**/*.jsonl"
) -> list[epath.Path]:
  """JSON-lines files under `root`, sorted.

  Raises:
    SourceError: there are none.
  """
  found = dataset_files.find(root, pattern)
  if not found:
    raise base.SourceError(
      f"{os.fspath(root)}: got no files {pattern}, expected at least one; check"
      " the root"
    )
  return found


def _existing(path: str | os.PathLike) -> epath.Path:
  path = epath.Path(path)
  if not path.is_file():
    raise base.SourceError(
      f"{path}: got no such file, expected JSON; check the root"
    )
  return path


def _spans(text: str) -> list[tuple[int, int]]:
  """Where the values of the list begin and end."""
  scan = json.JSONDecoder().raw_decode
  position = _next(
    text, len(_BOM) if text.startswith(_BOM.decode("latin-1")) else 0
  )
  _expect(text, position, "[")
  spans = []
  position = _next(text, position + 1)
  if text[position : position + 1] == "]":
    return spans
  while True:
    _, end = scan(text, position)
    spans.append((position, end))
    position = _next(text, end)
    if text[position : position + 1] == "]":
      return spans
    _expect(text, position, ",")
    position = _next(text, position + 1)


def _next(text: str, position: int) -> int:
  """The next character that is not white space."""
  while position < len(text) and text[position] in _SPACE:
    position += 1
  return position


def _expect(text: str, position: int, sign: str) -> None:
  if text[position : position + 1] != sign:
    raise ValueError(
      f"{text[position : position + 20]!r} at byte {position}, where"
      f" {sign!r} belongs"
    )
