"""Texts of a command line to the types that a function's signature names."""

import inspect
import re
import types
import typing
from collections import abc
from typing import Any

_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_SEQUENCES = (tuple, list, abc.Sequence, abc.Collection, abc.Iterable)
# Names of data sets may hold commas: "ai2d(cauldron,llava_format)".
_COMMA = re.compile(r",(?![^()]*\))")


def parse(text: str, hint: Any) -> Any:
  """The value that a text stands for.

  Args:
    text: "3", "0.5", "true", "none", or of sequences "a,b" and "".
    hint: An annotation of int, float, bool, str, None, tuples and sequences
      of them, and unions. Of a union the narrowest that fits is taken: None,
      then a number, a sequence, a text.

  Raises:
    ValueError: the text does not stand for a value of that type.
  """
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if hint in (str, Any):
    return text
  if origin in (types.UnionType, typing.Union):
    for choice in sorted(args, key=_width):
      try:
        return parse(text, choice)
      except ValueError:
        continue
  elif origin in _SEQUENCES or hint in _SEQUENCES:
    return _parse_sequence(text, args)
  elif hint in (None, types.NoneType) and text.lower() == "none":
    return None
  elif hint is bool and text.lower() in _BOOLS:
    return _BOOLS[text.lower()]
  elif hint in (int, float):
    try:
      return hint(text)
    except ValueError:
      pass  # reported below
  raise ValueError(f"got {text!r}, expected {inspect.formatannotation(hint)}")


def _parse_sequence(text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
  parts = [part.strip() for part in _COMMA.split(text)] if text else []
  if not args:
    args = (str, ...)
  if len(args) == 1 or args[1:] == (...,):
    return tuple(parse(part, args[0]) for part in parts)
  if len(parts) != len(args):
    raise ValueError(
      f"got {text!r}, expected {len(args)} values with commas between them"
    )
  return tuple(parse(part, hint) for part, hint in zip(parts, args))


def _width(hint: Any) -> int:
  if hint in (None, types.NoneType):
    return 0
  if hint in (bool, int, float):
    return 1
  return 3 if hint in (str, Any) else 2
