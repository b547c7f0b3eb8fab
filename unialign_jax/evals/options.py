"""What `--set NAME=VALUE` gives a benchmark, as a dataclass of its own."""

import difflib
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

_T = TypeVar("_T")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def read(cls: type[_T], settings: Mapping[str, Any], benchmark: str) -> _T:
  """The settings as a `cls`; what is not given keeps its default.

  Args:
    cls: a dataclass with defaults, of fields that are bool, int, float, str
      or pathlib.Path, or one of these and None.
    settings: texts, or values of the right type.
    benchmark: its name, for errors.

  Raises:
    ValueError: all names that are none of the fields, and all values that are
      not of a field's type.
  """
  kinds = typing.get_type_hints(cls)
  values, problems = {}, []
  for name, given in settings.items():
    if name not in kinds:
      near = difflib.get_close_matches(name, kinds, n=1)
      hint = f"; did you mean {near[0]}?" if near else ""
      problems.append(
        f"{name}: got no setting of {benchmark}, expected one of"
        f" {sorted(kinds)}{hint}"
      )
      continue
    try:
      values[name] = _value(_kind(kinds[name]), given)
    except ValueError:
      expected = _kind(kinds[name]).__name__
      problems.append(f"{name}: got {given!r}, expected {expected}")
  if problems:
    raise ValueError("--set: " + "\n  ".join(problems))
  return cls(**values)


def check_exists(name: str, path: pathlib.Path | None) -> None:
  """Refuses the path of a setting where there is nothing.

  Args:
    name: of the setting.
    path: its value; None where it is not given.

  Raises:
    ValueError: there is no such file or folder.
  """
  if path is not None and not path.exists():
    raise ValueError(
      f"--set {name}={path}: cannot be read (no such file or folder)."
    )


def _kind(hint: Any) -> type:
  if isinstance(hint, types.UnionType):
    (hint,) = set(typing.get_args(hint)) - {types.NoneType}
  return hint


def _value(kind: type, given: Any) -> Any:
  if type(given) is kind or given is None:
    return given
  if kind is bool:
    if str(given).lower() not in _BOOLEANS:
      raise ValueError(given)
    return _BOOLEANS[str(given).lower()]
  if isinstance(given, bool):
    raise ValueError(given)
  if kind is pathlib.Path:
    return pathlib.Path(given).expanduser()
  return kind(given)
