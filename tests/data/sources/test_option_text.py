"""Texts become what annotations say, or an error that says what."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Optional

import pytest

from unialign_jax.data.sources import option_text


@pytest.mark.parametrize(
  ("text", "hint", "expected"),
  [
    ("3", int, 3),
    ("-3", int, -3),
    ("0.5", float, 0.5),
    ("3", float, 3.0),
    ("true", bool, True),
    ("False", bool, False),
    ("0", bool, False),
    ("1", bool, True),
    ("3", str, "3"),
    ("none", str, "none"),
    ("x", Any, "x"),
    ("none", int | None, None),
    ("None", Optional[str], None),  # noqa: UP045
    ("4", int | None, 4),
    ("name", str | None, "name"),
    ("2", int | str, 2),
    ("two", int | str, "two"),
    ("a,b", tuple[str, ...], ("a", "b")),
    ("a, b", Sequence[str], ("a", "b")),
    ("", tuple[str, ...], ()),
    ("1,2", tuple[int, ...], (1, 2)),
    ("1,2.5", tuple[int, float], (1, 2.5)),
    ("a", tuple, ("a",)),
    ("a,b", str | Sequence[str], ("a", "b")),
    ("a(b,c),d(e)", str | Sequence[str], ("a(b,c)", "d(e)")),
    ("2", int | Sequence[int], 2),
    ("2,3", int | Sequence[int], (2, 3)),
  ],
)
def test_parses(text, hint, expected):
  got = option_text.parse(text, hint)
  assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
  ("text", "hint", "expected"),
  [
    ("3.5", int, "int"),
    ("x", float, "float"),
    ("yes", bool, "bool"),
    ("", bool, "bool"),
    ("x", int | None, r"int \| None"),
    ("1,x", tuple[int, ...], "int"),
    ("1", tuple[int, int], "2 values"),
    ("a", Mapping[str, int], ".*Mapping"),
    ("x", None, "None"),
  ],
)
def test_refuses(text, hint, expected):
  with pytest.raises(ValueError, match=f"expected {expected}"):
    option_text.parse(text, hint)
