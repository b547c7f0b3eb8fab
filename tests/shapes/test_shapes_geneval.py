"""GenEval's six tasks on pictures whose content is known."""

import numpy as np
import pytest

from unialign_jax.shapes import geneval
from unialign_jax.shapes import language
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes


def picture(*objects: scenes.Object) -> np.ndarray:
  return render.render(scenes.Scene(scenes.arrange(objects)))


def item(shape, color="red", x=12, y=12) -> scenes.Object:
  return scenes.Object(shape, color, "small", x, y)


def prompt(tag: str, text: str) -> dict:
  (found,) = [
    p for p in geneval.prompts(10_000) if (p["tag"], p["prompt"]) == (tag, text)
  ]
  return found


def test_prompts_cover_all_tags_and_stay_in_the_language():
  chosen = geneval.prompts(12, seed=1)
  assert [p for p in geneval.TAGS if p not in {c["tag"] for c in chosen}] == []
  assert len(chosen) == 6 + 5 * 12
  words = {w for c in chosen for w in c["prompt"].split()}
  assert words <= set(language.VOCABULARY)
  assert chosen == geneval.prompts(12, seed=1)
  assert chosen != geneval.prompts(12, seed=2)
  everything = geneval.prompts(10_000)
  assert len({c["prompt"] for c in everything}) == len(everything)


@pytest.mark.parametrize(
  ("tag", "text", "right", "wrong"),
  [
    ("single_object", "a ring", [item("ring")], [item("circle")]),
    (
      "two_object",
      "a circle and a star",
      [item("circle"), item("star", x=50, y=50)],
      [item("circle"), item("ring", x=50, y=50)],
    ),
    (
      "counting",
      "two crosses",
      [item("cross"), item("cross", "blue", x=50)],
      [item("cross"), item("cross", x=50), item("cross", x=32, y=50)],
    ),
    (
      "colors",
      "a blue square",
      [item("square", "blue")],
      [item("square", "purple")],
    ),
    (
      "position",
      "a circle left of a star",
      [item("circle", x=12, y=30), item("star", x=50, y=30)],
      [item("circle", x=50, y=30), item("star", x=12, y=30)],
    ),
    (
      "color_attr",
      "a red circle and a blue square",
      [item("circle", "red"), item("square", "blue", x=50)],
      [item("circle", "blue"), item("square", "red", x=50)],
    ),
  ],
)
def test_right_pictures_pass_and_wrong_ones_say_why(tag, text, right, wrong):
  metadata = prompt(tag, text)
  assert geneval.score(picture(*right), metadata) == geneval.Verdict(True)
  verdict = geneval.score(picture(*wrong), metadata)
  assert not verdict.correct
  assert verdict.reason


def test_too_few_and_too_many_fail_counting():
  metadata = prompt("counting", "two crosses")
  assert "1 cross" in geneval.score(picture(item("cross")), metadata).reason


def test_overall_is_the_mean_over_tags_not_pictures():
  results = [(tag, True) for tag in geneval.TAGS[:5]]
  results += [(geneval.TAGS[5], False)] * 10
  total, shares = geneval.overall(results)
  assert total == pytest.approx(5 / 6)
  assert shares[geneval.TAGS[5]] == 0
  with pytest.raises(ValueError, match="no pictures for"):
    geneval.overall(results[:3])
  with pytest.raises(ValueError, match="unknown tag"):
    geneval.overall([("style", True)])


def test_captions_are_scored_by_shapes_and_colors():
  scene = scenes.Scene((item("circle", "red"), item("star", "blue", x=50)))

  def correct(caption):
    return geneval.score_caption(caption, scene).correct

  assert correct("a red circle and a blue star")
  assert correct("a small blue star right of a red circle on a gray background")
  assert not correct("a red circle")
  assert not correct("a blue circle and a red star")
  assert not correct("a red circle and two blue stars")
  assert not correct("a circle and a star")
  wrong = geneval.score_caption(
    "a red star", scenes.Scene((item("star", "blue"),))
  )
  assert wrong.reason == "does not name a blue star; names a red star"
