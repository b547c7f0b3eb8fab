"""The fields of one request: each is read once, and none is overlooked.

A parameter that this server cannot honour is refused, unless it changes
nothing about the result.
"""

import difflib
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from unialign_jax.serving import errors

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Fields:
  """Fields by name; null and a field that is not there are the same.

  Args:
    values: of a JSON object, or of a form.
    is_form: whether values are texts, as forms have them.
  """

  def __init__(self, values: Mapping[str, Any], *, is_form: bool = False):
    self._values = {k: v for k, v in values.items() if v is not None}
    self._known = set[str]()
    self._is_form = is_form

  def take(self, name: str, default: Any = None) -> Any:
    """A value of any type."""
    self._known.add(name)
    return self._values.get(name, default)

  def text(self, name: str, default: str | None = None) -> str:
    """A text.

    Raises:
      ApiError: another type; none, without a default.
    """
    value = self.take(name, default)
    if not isinstance(value, str):
      got = "none" if value is None else type(value).__name__
      raise errors.bad(f"{name}: got {got}, expected a text.", param=name)
    return value

  def whole(
    self, name: str, default: int | None, low: int, high: int
  ) -> int | None:
    """A whole number from `low` to `high`.

    Raises:
      ApiError: anything else.
    """
    value = self.take(name, default)
    if value is default:
      return default
    if self._is_form and isinstance(value, str):
      value = _parsed(int, value)
    if type(value) is not int or not low <= value <= high:
      raise errors.bad(
        f"{name}: got {_shown(self._values[name])}, expected a whole number"
        f" from {low} to {high}.",
        param=name,
      )
    return value

  def number(self, name: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`; None where there is none.

    Raises:
      ApiError: anything else.
    """
    value = self.take(name)
    if value is None:
      return None
    if self._is_form and isinstance(value, str):
      value = _parsed(float, value)
    # NaN and infinity are in no range; a whole number may be more than a float
    # holds, and compares all the same.
    if type(value) not in (int, float) or not low <= value <= high:
      raise errors.bad(
        f"{name}: got {_shown(self._values[name])}, expected a number"
        f" from {low:g} to {high:g}.",
        param=name,
      )
    return float(value)

  def flag(self, name: str, default: bool = False) -> bool:
    """Whether something is wanted.

    Raises:
      ApiError: neither true nor false.
    """
    value = self.take(name, default)
    if self._is_form and isinstance(value, str):
      value = _BOOLEANS.get(value.lower(), value)
    if not isinstance(value, bool):
      raise errors.bad(
        f"{name}: got {_shown(value)}, expected true or false.", param=name
      )
    return value

  def choice(self, name: str, allowed: Collection[str]) -> str | None:
    """One of a few words; None where there is none.

    Raises:
      ApiError: another value.
    """
    value = self.take(name)
    if value is not None and value not in allowed:
      raise errors.bad(
        f"{name}: got {_shown(value)}, expected one of {list(allowed)}.",
        param=name,
      )
    return value

  def only(self, name: str, *allowed: Any) -> None:
    """A parameter of the protocol that has no other meaning here.

    Raises:
      ApiError: another value than those that ask for nothing.
    """
    value = self.take(name)
    if self._is_form:
      allowed = tuple(str(one).lower() for one in allowed)
    if value is not None and not any(_is_same(value, one) for one in allowed):
      expected = f"{allowed[0]!r} or none" if allowed else "none"
      raise errors.bad(
        f"{name}: got {_shown(value)}, expected {expected}; this model has"
        " nothing of the kind.",
        param=name,
        code="unsupported_parameter",
      )

  def ignore(self, *names: str) -> None:
    """Parameters that change nothing about the result."""
    self._known.update(names)

  def done(self) -> None:
    """Refuses what nobody has read.

    Raises:
      ApiError: naming it.
    """
    for name in self._values:
      if name not in self._known:
        near = difflib.get_close_matches(name, self._known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise errors.bad(
          f"{name}: got a parameter that this server does not know{hint}",
          param=name,
          code="unknown_parameter",
        )


def _parsed(kind: type, value: str) -> Any:
  try:
    return kind(value)
  except ValueError:
    return None


def _is_same(value: Any, allowed: Any) -> bool:
  """Equal, but true is not 1; a number is the same with or without a point."""
  if isinstance(value, bool) or isinstance(allowed, bool):
    return value is allowed
  return value == allowed


def _shown(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 60 else f"{text[:57]}..."
