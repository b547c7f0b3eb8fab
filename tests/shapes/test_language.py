"""Texts: closed vocabulary, true statements, bounded length."""

import re

import numpy as np
import pytest

from unialign_jax.shapes import language
from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes

RED = scenes.Object("circle", "red", "small", 10, 12)
BLUE = scenes.Object("square", "blue", "large", 46, 50)
ORANGE = scenes.Object("star", "orange", "small", 50, 12)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def random_scenes(number):
  rng = np.random.default_rng(1)
  return [scenes.sample_scene(rng) for _ in range(number)]


def test_all_words_are_in_the_vocabulary(rng):
  known = set(language.VOCABULARY)
  for scene in random_scenes(300):
    texts = language.captions(scene, rng)
    for pair in language.question_answers(scene, rng):
      texts += pair
    for text in texts:
      assert re.fullmatch(r"[a-z]+([,.?]? [a-z]+)*[.?]?", text), text
      assert set(re.findall(r"\w+", text)) <= known, text
  assert list(language.VOCABULARY) == sorted(known)
  assert 100 < len(known) < 160


def test_the_plainest_caption_comes_first(rng):
  assert language.captions(scenes.Scene((RED,)), rng)[0] == "a red circle"
  texts = {
    language.captions(scenes.Scene((RED, BLUE)), rng)[0] for _ in range(20)
  }
  assert texts == {
    "a red circle and a blue square",
    "a blue square and a red circle",
  }


def test_short_captions_fit_23_tokens(rng):
  for scene in random_scenes(300):
    short = language.captions(scene, rng, max_tokens=23)
    assert all(language.count_tokens(text) <= 23 for text in short)
    longest = max(map(language.count_tokens, language.captions(scene, rng)))
    assert longest > 12


def test_complete_captions_leave_nothing_out(rng):
  options = {"max_objects": 2, "figure": 0.0, "repeat": 0.0}
  for _ in range(100):
    scene = scenes.sample_scene(rng, **options)
    for text in language.captions(scene, rng, complete=True):
      for item in scene.objects:
        phrase = f"{item.size} {item.color} {item.shape}"
        assert phrase in text
        assert scenes.region(item.x, item.y) in text
      assert scene.background.color in text


def test_detail_is_the_share_of_complete_captions(rng):
  scene = scenes.Scene((RED,))
  complete = set()
  for _ in range(50):
    complete.update(language.captions(scene, rng, complete=True))

  def share(detail):
    texts = [language.caption(scene, rng, detail=detail) for _ in range(300)]
    return np.mean([text in complete for text in texts])

  some, most = share(0.0), share(0.9)
  assert share(1.0) == 1.0
  assert some < 0.8
  assert most == pytest.approx(0.9 + 0.1 * some, abs=0.05)


def test_a_short_caption_stands_in_where_no_complete_one_fits(rng):
  scene = scenes.Scene((RED, BLUE))
  texts = language.captions(scene, rng, max_tokens=7, complete=True)
  assert texts
  assert all(language.count_tokens(text) <= 7 for text in texts)


def test_a_budget_nothing_fits_is_an_error(rng):
  with pytest.raises(ValueError, match="max_tokens=2"):
    language.captions(scenes.Scene((RED, BLUE)), rng, max_tokens=2)


def test_equal_shapes_are_counted(rng):
  twins = (RED, scenes.Object("circle", "red", "large", 45, 45))
  texts = language.captions(scenes.Scene(twins), rng)
  assert texts[0] == "two red circles"
  assert "two circles" in texts
  crosses = tuple(
    scenes.Object("cross", "red", "small", x, 12) for x in (9, 50)
  )
  assert language.captions(scenes.Scene(crosses), rng)[0] == "two red crosses"


def test_long_captions_state_everything(rng):
  ground = scenes.Background("gray", "dotted")
  figure = scenes.Figure("waving", 20, 45)
  scene = scenes.Scene((RED, ORANGE), ground, figure)
  longest = max(language.captions(scene, rng), key=language.count_tokens)
  for part in (
    "a small red circle at the top left",
    "a small orange star at the top right",
    "a person waving at the bottom left",
    "dotted gray",
  ):
    assert part in longest


def test_front_and_back_are_named_where_shapes_overlap(rng):
  back = scenes.Object("square", "blue", "large", 18, 18)
  front = scenes.Object("circle", "red", "large", 18, 36)
  scene = scenes.Scene((back, front))
  said = "the circle is in front of the square."
  assert any(said in text for text in language.captions(scene, rng))
  pairs = language.question_answers(scene, rng)
  assert ("what is in front of the square?", "the circle") in pairs
  apart = scenes.Scene((back, scenes.Object("circle", "red", "small", 50, 50)))
  assert not any("front" in t for t in language.captions(apart, rng))


def test_answers_are_right(rng):
  figure = scenes.Figure("walking", 20, 42)
  ground = scenes.Background("beige", "striped")
  scene = scenes.Scene((RED, ORANGE), ground, figure)
  answers = {}
  for _ in range(400):
    for question, answer in language.question_answers(scene, rng):
      assert answers.setdefault(question, answer) == answer
  expected = {
    "what color is the circle?": "red",
    "what is the orange shape?": "star",
    "is the red circle small or large?": "small",
    "where is the orange star?": "at the top right",
    "how many shapes are there?": "two",
    "how many circles are there?": "one",
    "how many rings are there?": "zero",
    "is there a red circle?": "yes",
    "is there a red star?": "no",
    "is the circle left of the star?": "yes",
    "is the circle above the star?": "no",
    "where is the star relative to the circle?": "right of the circle",
    "what color is the background?": "beige",
    "what pattern has the background?": "striped",
    "is there a person?": "yes",
    "what is the person doing?": "walking",
  }
  assert expected.items() <= answers.items()


def test_questions_that_would_be_ambiguous_are_not_asked(rng):
  twins = (RED, scenes.Object("circle", "blue", "small", 50, 50))
  for _ in range(20):
    questions = dict(language.question_answers(scenes.Scene(twins), rng))
    assert "what color is the circle?" not in questions
    assert "what is the color of the circle?" not in questions


def test_references_are_the_shortest_that_are_unique():
  small = RED
  large = scenes.Object("circle", "red", "large", 45, 18)
  blue = scenes.Object("circle", "blue", "small", 10, 50)
  scene = scenes.Scene((small, large, blue, BLUE))
  assert language.refer(BLUE, scene) == "the square"
  assert language.refer(blue, scene) == "the blue circle"
  assert language.refer(small, scene) == "the small red circle"
  twin = scenes.Scene((small, scenes.Object("circle", "red", "small", 50, 50)))
  assert language.refer(small, twin) == ""


def test_styles_hide_colors(rng):
  for style in phrases.STYLE_NAMES:
    scene = scenes.Scene((RED, BLUE), style=style)
    for text in language.captions(scene, rng):
      assert phrases.STYLE_NAMES[style] in text
      assert "red" not in text
    with pytest.raises(ValueError, match="natural"):
      language.question_answers(scene, rng)
