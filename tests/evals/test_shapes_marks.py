"""The marks of the Shapes benchmark on pictures and texts that are known."""

import dataclasses

import numpy as np
import pytest

from unialign_jax.evals.shapes import captions
from unialign_jax.evals.shapes import drawing
from unialign_jax.evals.shapes import edits as edit_marks
from unialign_jax.evals.shapes import perception
from unialign_jax.evals.shapes import styles
from unialign_jax.shapes import edits
from unialign_jax.shapes import language
from unialign_jax.shapes import maps
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

STAR = scenes.Object("star", "red", "small", 16, 16)
RING = scenes.Object("ring", "blue", "small", 48, 52)
PERSON = scenes.Figure("standing", 44, 20)


def _scene(*objects: scenes.Object, **more) -> scenes.Scene:
  scene = scenes.Scene(scenes.arrange(objects), **more)
  assert scenes.is_valid(scene)
  return scene


# Edits: what had to change, and what had to stay.

_BEFORE = _scene(STAR, RING)
_RECOLOR = edits.Edit(
  "adjust",
  _BEFORE,
  _scene(dataclasses.replace(STAR, color="green"), RING),
  "make the star green",
)
_REMOVE = edits.Edit("remove", _BEFORE, _scene(RING), "remove the star")
_ADD = edits.Edit("add", _scene(RING), _BEFORE, "add a small red star")
_GROUND = edits.Edit(
  "background",
  _BEFORE,
  _scene(STAR, RING, background=scenes.Background("mint", "striped")),
  "make the background striped mint",
)
_WAVE = edits.Edit(
  "action",
  _scene(STAR, figure=PERSON),
  _scene(STAR, figure=dataclasses.replace(PERSON, pose="waving")),
  "make the person wave",
)
_GREEN = dataclasses.replace(STAR, color="green")
_CROSS = scenes.Object("cross", "pink", "small", 12, 52)


@pytest.mark.parametrize(
  ("edit", "shown", "reached", "kept"),
  [
    # The star is green, but another shape or size.
    (_RECOLOR, _scene(dataclasses.replace(_GREEN, shape="cross"), RING), 1, 0),
    (_RECOLOR, _scene(dataclasses.replace(_GREEN, size="large"), RING), 1, 0),
    # It is green, and has moved into another place.
    (_RECOLOR, _scene(dataclasses.replace(_GREEN, x=27), RING), 1, 0),
    # It is green; the ring is gone, changed, or has company.
    (_RECOLOR, _scene(_GREEN), 1, 0),
    (_RECOLOR, _scene(_GREEN, dataclasses.replace(RING, color="pink")), 1, 0),
    (_RECOLOR, _scene(_GREEN, RING, _CROSS), 1, 0),
    (_RECOLOR, _scene(_GREEN, RING, figure=PERSON), 1, 0),
    (
      _RECOLOR,
      _scene(_GREEN, RING, background=scenes.Background("mint")),
      1,
      0,
    ),
    # The wrong one has changed.
    (_RECOLOR, _scene(STAR, dataclasses.replace(RING, color="green")), 0, 0),
    (_RECOLOR, _scene(dataclasses.replace(STAR, color="pink"), RING), 0, 1),
    (_REMOVE, _scene(RING), 1, 1),
    (_REMOVE, _scene(STAR), 0, 0),
    (_REMOVE, _scene(RING, _CROSS), 1, 0),
    (_ADD, _scene(RING, _GREEN), 0, 1),
    (_ADD, _scene(RING, dataclasses.replace(STAR, x=52)), 0, 0),
    (_ADD, _scene(STAR), 1, 0),
    (
      _GROUND,
      _scene(STAR, RING, background=scenes.Background("mint")),
      0,
      1,
    ),
    (_GROUND, _scene(STAR, background=_GROUND.target.background), 1, 0),
    (_WAVE, _scene(STAR), 0, 0),
    (_WAVE, _scene(figure=_WAVE.target.figure), 1, 0),
    (
      _WAVE,
      _scene(STAR, figure=dataclasses.replace(PERSON, pose="walking")),
      0,
      1,
    ),
  ],
)
def test_what_had_to_change_and_what_had_to_stay(
  edit: edits.Edit, shown: scenes.Scene, reached: bool, kept: bool
):
  assert edit_marks.judge(render.render(shown), edit) == (reached, kept)
  assert edit_marks.judge(render.render(edit.target), edit) == (True, True)
  assert edit_marks.judge(render.render(edit.source), edit) == (False, True)


@pytest.mark.parametrize("style", [s for s in scenes.STYLES if s != "natural"])
def test_a_style_and_the_scene_in_it(style: str):
  scene = _scene(STAR, figure=PERSON, background=scenes.Background("beige"))
  target = dataclasses.replace(scene, style=style)
  assert styles.judge(render.render(target), target) == (True, True)
  assert styles.judge(render.render(scene), target) == (False, True)
  round_ = dataclasses.replace(STAR, shape="circle")
  for wrong in (
    _scene(figure=PERSON, background=scene.background),
    _scene(round_, figure=PERSON, background=scene.background),
    _scene(STAR, background=scene.background),
    _scene(STAR, _CROSS, figure=PERSON, background=scene.background),
    _scene(
      STAR,
      background=scene.background,
      figure=dataclasses.replace(PERSON, pose="cheering"),
    ),
  ):
    picture = render.render(dataclasses.replace(wrong, style=style))
    assert styles.judge(picture, target) == (True, False)


def test_a_style_keeps_the_pattern_that_it_shows():
  scene = _scene(STAR, style="grayscale")
  striped = dataclasses.replace(
    scene, background=scenes.Background("white", "striped")
  )
  assert styles.judge(render.render(striped), scene) == (True, False)


def test_a_negative_has_the_colors_of_one():
  scene = _scene(STAR, style="negative")
  other = _scene(_GREEN, style="negative")
  assert styles.judge(render.render(other), scene) == (True, False)


def test_what_a_style_makes_invisible_is_not_asked():
  yellow = dataclasses.replace(STAR, color="yellow")
  scene = _scene(yellow, RING, background=scenes.Background("lavender"))
  assert styles.is_readable(scene)
  assert not styles.is_readable(dataclasses.replace(scene, style="grayscale"))


def test_edits_of_style_are_readable(monkeypatch: pytest.MonkeyPatch):
  def is_sketch(scene: scenes.Scene) -> bool:
    return scene.style == "sketch"

  monkeypatch.setattr(styles, "is_readable", is_sketch)
  found = drawing.drawn.__wrapped__("editing", 2, 0, "wide")
  targets = [i.mark.args[0].target for i in found if i.row == "edit: style"]
  assert len(targets) == 2 and all(map(is_sketch, targets))


# Maps.


def test_edges_may_lie_one_pixel_off():
  true = maps.canny(render.render(_BEFORE))
  assert perception.canny_f1(true, true) == 1
  assert perception.canny_f1(np.roll(true, 1, axis=0), true) == 1
  assert perception.canny_f1(np.roll(true, 4, axis=1), true) < 0.6
  half = true.copy()
  half[:32] = 0  # the star's: what is left is true, but not all
  assert 0.5 < perception.canny_f1(half, true) < 0.95
  thick = np.maximum.reduce([np.roll(true, i, axis=0) for i in (-1, 0, 1)])
  assert perception.canny_f1(thick, true) > 0.9
  for even in (0, 255):
    assert perception.canny_f1(np.full_like(true, even), true) < 0.05


def test_depth_has_to_be_in_order():
  scene = _scene(STAR, RING)
  true = maps.depth(scene)
  assert perception.depth(true, true) == (1.0, 0.0)
  # The far one as near as the near one: its share of the pixels is wrong.
  flat = np.where(true > 100, 255, true).astype(np.uint8)
  found = perception.depth(flat, true)
  assert 0.3 < found.accuracy < 0.7 and 0.1 < found.error < 45 / 255
  for even in (0, 255):
    found = perception.depth(np.full_like(true, even), true)
    assert found.accuracy < 0.15 and found.error > 0.5


@pytest.mark.parametrize("pose", scenes.POSES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_joints_are_found_where_they_are(pose: str, mirrored: bool):
  figure = scenes.Figure(pose, 32, 32, mirrored)
  true = maps.pose(_scene(figure=figure))
  assert perception.pose_pck(true, figure) == 1
  assert perception.pose_pck(np.roll(true, 1, axis=1), figure) == 1
  assert perception.pose_pck(np.roll(true, 5, axis=1), figure) == 0
  assert perception.pose_pck(np.zeros_like(true), figure) == 0


@pytest.mark.parametrize("pose", scenes.POSES)
def test_joints_are_found_to_a_part_of_a_pixel(
  pose: str, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setattr(perception, "PCK", 0.4 / 26)  # of 26 pixels of height
  figure = scenes.Figure(pose, 32, 32)
  assert perception.pose_pck(maps.pose(_scene(figure=figure)), figure) == 1


def test_a_joint_belongs_to_its_limb():
  waving, standing = (
    scenes.Figure(pose, 32, 32) for pose in ("waving", "standing")
  )
  picture = maps.pose(_scene(figure=waving))
  # One elbow and one hand of 11 joints are elsewhere.
  assert perception.pose_pck(picture, standing) == pytest.approx(9 / 11)
  # Blue and red have changed places: the limbs are there and are others.
  assert perception.pose_pck(picture[..., ::-1].copy(), waving) < 0.8


# Captions.


def test_a_caption_says_all_and_nothing_else():
  scene = _scene(STAR, figure=PERSON)
  text = (
    "a small red star at the top left and a person standing at the top right,"
    " on a white background."
  )
  f1 = captions.attribute_f1
  assert f1(text, scene) == 1
  for wrong in (
    text.replace("red", "blue"),
    text.replace("star", "ring"),
    text.replace("small", "large"),
    text.replace("top left", "bottom left"),
    text.replace("white", "mint"),
    text.replace("standing", "waving"),
    text.replace("a small", "two small"),
    "a small red star",
  ):
    assert 0.2 < f1(wrong, scene) < 1, wrong
  assert f1("", scene) == 0
  # Half of what it says: more is not better.
  assert f1(f"{text} {text}", scene) < 0.8


def test_what_names_elements_again_does_not_count_twice():
  rng = np.random.default_rng(0)
  seen = set()
  for _ in range(40):
    scene = scenes.sample_scene(rng, repeat=0.0, overlap=1.0)
    for text in language.captions(scene, rng, complete=True):
      assert captions.attribute_f1(text, scene) == 1, text
      seen.add(" is in front of " in text)
  assert seen == {False, True}
