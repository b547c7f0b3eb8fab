"""GenEval's rule on objects whose places are known."""

import numpy as np
import pytest

from tests.evals.geneval import files
from unialign_jax.evals.geneval import rule


def _at(
  name: str, x: float, y: float, side: float = 10, confidence: float = 0.95
) -> rule.Object:
  """An object around a centre."""
  box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
  return rule.Object(name=name, box=box, confidence=confidence)


def _colors(**by_class: list[str]):
  """Colours by class, for as many objects as are asked about."""
  return lambda objects, name: by_class[name.replace(" ", "_")][: len(objects)]


def _no_colors(objects, name):
  raise AssertionError(f"nobody asked for the colour of {name}")


def _judge(tag: str, objects, colors=_no_colors) -> rule.Verdict:
  (line,) = (line for line in files.LINES if line["tag"] == tag)
  return rule.judge(rule.sure(objects, tag), line, colors)


def test_one_object_is_enough_and_more_do_no_harm():
  assert _judge("single_object", [_at("bench", 50, 50)]).correct
  assert _judge("single_object", [_at("bench", 50, 50)] * 3).correct
  verdict = _judge("single_object", [_at("cat", 50, 50)])
  assert not verdict.correct
  assert verdict.reason == "0 bench, expected 1 or more"


def test_all_clauses_must_hold_and_all_that_do_not_are_named():
  assert _judge("two_object", [_at("cat", 1, 1), _at("dog", 1, 1)]).correct
  verdict = _judge("two_object", [])
  assert verdict.reason.splitlines() == [
    "0 cat, expected 1 or more",
    "0 dog, expected 1 or more",
  ]


@pytest.mark.parametrize("number, correct", [(1, False), (2, True), (3, False)])
def test_counting_excludes_one_more(number: int, correct: bool):
  clocks = [_at("clock", 10 * n, 0) for n in range(number)]
  assert _judge("counting", clocks).correct is correct


def test_counting_takes_surer_objects_and_thresholds_are_strict():
  clocks = [_at("clock", 0, 0), _at("clock", 20, 0, confidence=0.9)]
  assert not _judge("counting", clocks).correct
  clocks[1] = _at("clock", 20, 0, confidence=0.901)
  assert _judge("counting", clocks).correct
  assert not _judge("single_object", [_at("bench", 0, 0, confidence=0.3)])\
    .correct  # fmt: skip
  assert _judge("single_object", [_at("bench", 0, 0, confidence=0.301)]).correct


def test_a_class_has_at_most_sixteen_objects_the_surest_first():
  clocks = [_at("clock", n, 0, confidence=0.4 + n / 100) for n in range(20)]
  kept = rule.sure(clocks, "single_object")["clock"]
  assert [o.box[0] for o in kept] == [n - 5 for n in range(19, 3, -1)]


def test_colours_count_for_the_surest_alone():
  cars = [
    _at("car", 0, 0, confidence=0.5),
    _at("car", 50, 0, confidence=0.9),
  ]
  seen = []

  def colors(objects, name):
    seen.extend(objects)
    return ["red"] * len(objects)

  assert _judge("colors", cars, colors).correct
  assert [o.confidence for o in seen] == [0.9]
  verdict = _judge("colors", cars, _colors(car=["blue"]))
  assert verdict.reason == "car is blue, expected red"


@pytest.mark.parametrize("second, correct", [("red", True), ("blue", False)])
def test_all_that_are_asked_for_have_the_colour(second: str, correct: bool):
  line = {"include": [{"class": "car", "count": 2, "color": "red"}]}
  cars = rule.sure([_at("car", 0, 0), _at("car", 50, 0)], "colors")
  verdict = rule.judge(cars, line, _colors(car=["red", second]))
  assert verdict.correct is correct


def test_each_colour_belongs_to_its_object():
  objects = [_at("cat", 0, 0), _at("tv remote", 50, 0)]
  right = _colors(cat=["black"], tv_remote=["white"])
  assert _judge("color_attr", objects, right).correct
  swapped = _colors(cat=["white"], tv_remote=["black"])
  assert len(_judge("color_attr", objects, swapped).reason.splitlines()) == 2


@pytest.mark.parametrize(
  "cat, dog, correct",
  [
    ((20, 50), (80, 50), True),
    ((80, 50), (20, 50), False),  # the other way
    ((50, 20), (50, 80), False),  # above
    ((20, 20), (80, 80), True),  # left and above
    ((50, 50), (50, 50), False),  # nowhere
  ],
)
def test_positions(cat, dog, correct):
  objects = [_at("cat", *cat), _at("dog", *dog)]
  assert _judge("position", objects).correct is correct


def test_a_position_without_its_target_fails_for_that():
  verdict = _judge("position", [_at("cat", 0, 0)])
  assert "nothing that cat could be left of" in verdict.reason


def test_every_pair_must_stand_in_the_relation():
  line = {
    "include": [
      {"class": "dog", "count": 2},
      {"class": "cat", "count": 1, "position": ["left of", 0]},
    ]
  }
  cat = _at("cat", 50, 0)
  for second, correct in ((200, True), (0, False)):
    dogs = [_at("dog", 100, 0), _at("dog", second, 0)]
    objects = rule.sure([cat, *dogs], "position")
    assert rule.judge(objects, line, _no_colors).correct is correct


def test_the_margin_is_a_tenth_of_both_sides():
  # Sides of 10: 0.1 (10 + 10) = 2 pixels are nothing.
  at = _at("dog", 0, 0)
  assert rule.relations(_at("cat", 2, 0), at) == set()
  assert rule.relations(_at("cat", 2.0005, 0), at) == set()
  # (5 - 2) / 5 = 0.6 is a relation, (4 - 2) / 4 = 0.5 is none.
  assert rule.relations(_at("cat", 5, 0), at) == {"right of"}
  assert rule.relations(_at("cat", 4, 0), at) == set()
  assert rule.relations(_at("cat", -5, 0), at) == {"left of"}
  assert rule.relations(_at("cat", 0, 5), at) == {"below"}
  assert rule.relations(_at("cat", 0, -5), at) == {"above"}
  assert rule.relations(_at("cat", 90, -90), at) == {"right of", "above"}


def test_the_margin_grows_with_the_side_in_its_direction():
  wide = rule.Object(name="a", box=(-50, -5, 50, 5), confidence=1.0)
  other = rule.Object(name="b", box=(-50, -5, 50, 5), confidence=1.0)
  moved = rule.Object(name="b", box=(-35, 0, 65, 10), confidence=1.0)
  assert rule.relations(wide, other) == set()
  # 15 to the right within the margin of 20; 5 down, less 2, over sqrt(250).
  assert rule.relations(moved, wide) == set()
  down = rule.Object(name="b", box=(-50, 5, 50, 15), confidence=1.0)
  assert rule.relations(down, wide) == {"below"}


def test_objects_may_have_masks():
  mask = np.ones((4, 4), bool)
  one = rule.Object(name="bench", box=(0, 0, 4, 4), confidence=0.5, mask=mask)
  assert _judge("single_object", [one]).correct
