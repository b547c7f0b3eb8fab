"""JSON that others wrote: what Python's parser lets through is refused.

`json` takes NaN and Infinity, keeps the last of two equal keys, and ends a
deep nesting in `RecursionError`: while it parses, or later, where the values
are printed or walked. Here all of that is a `ValueError`.
"""

import json
import os
from typing import Any

from etils import epath

MAX_DEPTH = 64  # objects and lists within one another
MAX_BYTES = 2**26  # of a file that is read whole


def document(data: bytes | str) -> Any:
  """The value of a file that settles how others are read.

  Raises:
    ValueError: no JSON, nested too deeply, a number that is not finite, or a
      key that occurs twice in one object.
  """
  return _parsed(data, parse_constant=_refuse, object_pairs_hook=_once)


def row(data: bytes | str) -> Any:
  """The value of one sample, where data sets may have NaN for "unknown".

  Raises:
    ValueError: no JSON, or nested too deeply.
  """
  return _parsed(data)


def read(path: str | os.PathLike) -> Any:
  """The `document` in a file.

  Raises:
    OSError: a file that cannot be read.
    ValueError: as `document`, or more than `MAX_BYTES`.
  """
  with epath.Path(path).open("rb") as file:
    data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise ValueError(f"got more than {MAX_BYTES} bytes of JSON")
  return document(data)


def _parsed(data: bytes | str, **options: Any) -> Any:
  try:
    value = json.loads(data, **options)
  except RecursionError:
    raise _too_deep() from None
  brackets = ("[", "{") if isinstance(data, str) else (b"[", b"{")
  # Most texts cannot be too deep: they have fewer brackets than that.
  if sum(map(data.count, brackets)) > MAX_DEPTH:
    _check_depth(value)
  return value


def _check_depth(value: Any) -> None:
  """Goes down level by level: a recursion would be what is to be refused."""
  level = [value]
  for _ in range(MAX_DEPTH):
    level = [
      child
      for each in level
      if isinstance(each, dict | list)
      for child in (each.values() if isinstance(each, dict) else each)
    ]
  if any(isinstance(each, dict | list) for each in level):
    raise _too_deep()


def _too_deep() -> ValueError:
  return ValueError(f"got JSON nested more than {MAX_DEPTH} deep")


def _refuse(constant: str) -> None:
  raise ValueError(f"got the number {constant}, expected finite ones")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  values = dict(pairs)
  if len(values) < len(pairs):
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    raise ValueError(f"got the keys {twice} twice, expected each once")
  return values
