"""Files of JSON lines that outlive a kill: the last line is whole or not read.

They are appended to by one process alone.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any


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
    ValueError: a line that is no JSON.
  """
  if not path.exists():
    return []
  whole, _, _ = path.read_text().rpartition("\n")
  records = []
  for number, line in enumerate(whole.splitlines(), 1):
    try:
      records.append(json.loads(line))
    except ValueError as error:
      raise ValueError(
        f"{path}, line {number}: got {line[:60]!r}, expected JSON ({error});"
        " remove the line"
      ) from error
  return records


def trim(path: pathlib.Path) -> None:
  """Cuts off a line that was being written when the process was killed."""
  if not path.exists():
    return
  with path.open("rb+") as file:
    content = file.read()
    if content and not content.endswith(b"\n"):
      file.truncate(content.rfind(b"\n") + 1)
