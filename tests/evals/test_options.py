"""What --set gives, as a dataclass."""

import dataclasses
import pathlib

import pytest

from unialign_jax.evals import options


@dataclasses.dataclass(frozen=True)
class _Options:
  flag: bool = False
  count: int = 4
  share: float = 0.5
  name: str = ""
  path: pathlib.Path | None = None


def test_texts_become_values_of_the_field():
  read = options.read(
    _Options,
    {"flag": "True", "count": "2", "share": "1", "name": "7", "path": "a/b"},
    "test",
  )
  assert read == _Options(True, 2, 1.0, "7", pathlib.Path("a/b"))
  assert type(read.share) is float


def test_values_stay_and_what_is_not_given_keeps_its_default():
  assert options.read(_Options, {"flag": True, "count": 3}, "test") == _Options(
    flag=True, count=3
  )
  assert options.read(_Options, {}, "test") == _Options()
  assert options.read(_Options, {"flag": "0"}, "test") == _Options()


@pytest.mark.parametrize(
  "given", [{"count": "2.5"}, {"count": True}, {"flag": "yes"}, {"share": ""}]
)
def test_a_value_of_another_type_is_named(given):
  with pytest.raises(ValueError, match=f"{next(iter(given))}: got"):
    options.read(_Options, given, "test")


def test_all_mistakes_come_in_one_message():
  with pytest.raises(ValueError) as error:
    options.read(_Options, {"counts": "2", "share": "much"}, "test")
  assert "did you mean count" in str(error.value)
  assert "share: got 'much', expected float" in str(error.value)
