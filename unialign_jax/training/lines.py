"""Files of JSON lines that outlive a kill: the last line is whole or not read.

They are appended to by one process alone.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from absl import logging


def encode(record: Mapping[str, Any]) -> str:
  """One line; JSON has no NaN or infinity, so those become text."""

  def plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
      return str(value)
    return value

  return json.dumps({k: plain(v) for k, v in record.items()}) + "\n"


def append(path: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Adds a line; it is on disk afterwards."""
  trim(path)
  with path.open("a") as file:
    file.write(encode(record))
    file.flush()
    os.fsync(file.fileno())


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """All lines; none where there is no file.

  Raises:
    ValueError: a line that is no JSON object.
  """
  records = []
  for number, line in _whole(path):
    try:
      records.append(_parse(line))
    except ValueError as error:
      raise ValueError(
        f"{path}, line {number}: got {_start(line)}, expected JSON ({error});"
        " remove the line"
      ) from error
  return records


def read_sound(path: pathlib.Path, **kinds: Any) -> list[dict[str, Any]]:
  """The lines that can be used; of each other one a warning is logged.

  For what a run can do without: a file of numbers must not end it.

  Args:
    path: of the file; none where there is no file.
    **kinds: keys that a line must have, and the type of their values.
  """
  records = []
  for number, line in _whole(path):
    try:
      record = _parse(line)
      for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
          raise ValueError(f"{key} is {record.get(key)!r}")
    except ValueError as error:
      logging.warning(
        "%s, line %d is left out: got %s (%s)",
        path,
        number,
        _start(line),
        error,
      )
      continue
    records.append(record)
  return records


def trim(path: pathlib.Path) -> None:
  """Cuts off a line that was being written when the process was killed."""
  if not path.exists():
    return
  with path.open("rb+") as file:
    content = file.read()
    if content and not content.endswith(b"\n"):
      file.truncate(content.rfind(b"\n") + 1)


def _whole(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  """Lines with their numbers, without one that a kill has cut."""
  if path.exists():
    yield from enumerate(path.read_bytes().split(b"\n")[:-1], 1)


def _parse(line: bytes) -> dict[str, Any]:
  record = json.loads(line.decode())
  if not isinstance(record, dict):
    raise ValueError("no object")
  return record


def _start(line: bytes) -> str:
  return repr(line[:60].decode(errors="replace"))
