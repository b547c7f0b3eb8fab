"""DPG-Bench's numbers, computed by hand."""

import pytest

from unialign_jax.evals.dpg import questions
from unialign_jax.evals.dpg import scores


def _item(*rows: tuple[int, tuple[int, ...], str]):
  return {
    number: questions.Question(
      number=number, text=f"q{number}", parents=parents, detailed=detailed
    )
    for number, parents, detailed in rows
  }


_CHAIN = _item(
  (1, (), "entity - whole"),
  (2, (1,), "attribute - color"),
  (3, (2,), "attribute - size"),
  (4, (), "global"),
)
_PAIR = _item((1, (), "entity - whole"), (2, (), "other - count"))
_ITEMS = {"a": _CHAIN, "b": _PAIR}


def _said(verdicts: str) -> dict[int, bool]:
  """Verdicts by number: y, n, or . for no answer."""
  return {
    number: verdict == "y"
    for number, verdict in enumerate(verdicts, start=1)
    if verdict != "."
  }


def _values(table) -> dict[str, float | None]:
  return {score.group: score.value for score in table}


@pytest.mark.parametrize(
  "verdicts, points",
  [
    ("yyyy", [1, 1, 1, 1]),
    ("nyyy", [0, 0, 0, 1]),  # it cascades
    ("ynyy", [1, 0, 0, 1]),
    ("yyny", [1, 1, 0, 1]),
    (".yyn", [None, None, None, 0]),  # nobody knows
    (".ynn", [None, None, 0, 0]),
    ("n.yy", [0, 0, 0, 1]),  # whatever it was
  ],
)
def test_a_no_zeroes_all_that_depends_on_it(verdicts: str, points: list):
  found = scores.settled(_CHAIN, _said(verdicts))
  assert list(found.values()) == points


def test_the_order_of_the_file_does_not_matter_but_as_released_it_does():
  reverse = _item((3, (2,), "x"), (2, (1,), "x"), (1, (), "x"))
  said = {3: True, 2: True, 1: False}
  assert list(scores.settled(reverse, said).values()) == [0, 0, 0]
  # 3 is looked at before 2 is zeroed: it keeps its point.
  assert scores.released_share(reverse, [said]) == pytest.approx(1 / 3)


def test_questions_that_depend_on_each_other_end():
  circle = _item((1, (2,), "x"), (2, (1,), "x"))
  assert scores.settled(circle, {1: True, 2: True}) == {1: 1, 2: 1}
  assert scores.settled(circle, {1: False, 2: True}) == {1: 0, 2: 0}


def test_the_score_is_a_mean_of_means():
  answers = {
    "a": [_said("yyyy"), _said("nyyy")],  # 1 and 1/4
    "b": [_said("yn"), _said("nn")],  # 1/2 and 0
  }
  overall, *rest = scores.repaired(_ITEMS, answers, "m")
  assert overall.value == pytest.approx(100 * (0.625 + 0.25) / 2)
  assert (overall.scored, overall.expected) == (4, 4)
  assert _values(rest) == pytest.approx(
    {
      "global": 100.0,  # y y
      "entity": 50.0,  # y n y n
      "attribute": 50.0,  # y y n n, as zeroed
      "other": 0.0,
      "attribute - color": 50.0,
      "attribute - size": 50.0,
      "entity - whole": 50.0,
      "other - count": 0.0,
    }
  )


def test_as_released_categories_are_of_the_last_picture_before_zeroing():
  answers = {
    "a": [_said("yyyy"), _said("nyyn")],
    "b": [_said("yn"), _said("ny")],
  }
  overall, *rest = scores.as_released(_ITEMS, answers, "m")
  assert overall.value == pytest.approx(100 * (0.5 + 0.5) / 2)
  assert _values(rest) == pytest.approx(
    {
      "global": 0.0,
      "entity": 0.0,
      "attribute": 100.0,
      "other": 100.0,
      "attribute - color": 100.0,
      "attribute - size": 100.0,
      "entity - whole": 0.0,
      "other - count": 100.0,
    }
  )


def test_a_missing_picture_counts_0_and_as_released_its_prompt_is_dropped():
  answers = {"a": [_said("yyyy"), None], "b": [_said("yy"), _said("yy")]}
  overall, *rest = scores.repaired(_ITEMS, answers, "m")
  assert overall.value == pytest.approx(75.0)
  assert overall.scored == overall.expected == 4
  assert _values(rest)["global"] == 50.0
  released = scores.as_released(_ITEMS, answers, "m")[0]
  assert (released.value, released.scored, released.expected) == (100.0, 2, 4)


def test_a_question_without_answer_is_in_no_mean():
  answers = {"a": [_said("y.ny")], "b": [_said("..")]}
  overall, *rest = scores.repaired(_ITEMS, answers, "m")
  # 1 and 4 are yes, 3 is no; 2 is not known. Nothing is known of b.
  assert overall.value == pytest.approx(200 / 3)
  assert (overall.scored, overall.expected) == (1, 2)
  by_name = {score.group: score for score in rest}
  assert by_name["attribute"].value == 0.0
  assert (by_name["attribute"].scored, by_name["attribute"].expected) == (1, 2)
  assert by_name["other"].value is None
  released = scores.as_released(_ITEMS, answers, "m")[0]
  assert (released.value, released.scored) == (None, 0)


def test_prompts_weigh_the_same_however_many_pictures_are_known():
  answers = {"a": [_said("yyyy"), {}], "b": [_said("nn"), _said("nn")]}
  overall = scores.repaired(_ITEMS, answers, "m")[0]
  assert (overall.value, overall.scored, overall.expected) == (50.0, 3, 4)


def test_as_released_a_parent_that_is_no_question_drops_the_prompt():
  lost = {"a": {n: q for n, q in _CHAIN.items() if n != 1}, "b": _PAIR}
  answers = {"a": [_said("yyyy")], "b": [_said("yn")]}
  overall = scores.as_released(lost, answers, "m")[0]
  assert (overall.value, overall.scored) == (50.0, 1)


def test_rows_are_in_the_order_of_the_paper():
  items = {
    "a": _item(
      (1, (), "zoo - a"),
      (2, (), "other - text"),
      (3, (), "relation - spatial"),
      (4, (), "global - "),
      (5, (), "entity - part"),
      (6, (), "attribute - shape"),
    )
  }
  table = scores.repaired(items, {"a": [_said("yyyyyy")]}, "m")
  assert [score.group for score in table][:7] == [
    *("Overall", "global", "entity", "attribute", "relation", "other", "zoo"),
  ]
