"""Scenes: validity, identity, splits, determinism."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from unialign_jax.shapes import scene as scenes


def draw(number: int, seed: int = 0, **options) -> list[scenes.Scene]:
  rng = np.random.default_rng(seed)
  return [scenes.sample_scene(rng, **options) for _ in range(number)]


def test_sampled_scenes_are_valid_and_within_bounds():
  for scene in draw(300, min_objects=2, max_objects=3):
    assert scenes.is_valid(scene)
    assert 2 <= len(scene.objects) <= 3


def test_same_seed_same_scenes():
  assert draw(50, seed=3) == draw(50, seed=3)
  assert draw(50, seed=3) != draw(50, seed=4)


def test_json_round_trip():
  for scene in draw(100):
    assert scenes.Scene.from_json(scene.to_json()) == scene


def test_every_attribute_occurs():
  drawn = draw(600)
  objects = [o for s in drawn for o in s.objects]
  assert {o.shape for o in objects} == set(scenes.SHAPES)
  assert {o.color for o in objects} == set(scenes.COLORS)
  assert {o.size for o in objects} == set(scenes.SIZES)
  assert {s.background.color for s in drawn} == set(scenes.BACKGROUND_COLORS)
  assert {s.background.texture for s in drawn} == set(scenes.TEXTURES)
  assert {s.figure.pose for s in drawn if s.figure} == set(scenes.POSES)
  assert {len(s.objects) for s in drawn} == {1, 2, 3, 4}
  assert {scenes.region(o.x, o.y) for o in objects} >= {"top left", "center"}


def test_weights_set_the_number_of_shapes():
  counts = Counter(len(s.objects) for s in draw(400, weights=(3, 1, 0, 0)))
  assert set(counts) == {1, 2}
  assert counts[1] > 2 * counts[2]


@pytest.mark.parametrize(
  "options",
  [
    {"min_objects": 0},
    {"min_objects": 3, "max_objects": 2},
    {"max_objects": 5},
    {"weights": (1, 1)},
    {"min_objects": 3, "weights": (1, 1, 0, 0)},
  ],
)
def test_impossible_options_are_refused(options):
  with pytest.raises(ValueError, match=r"min_objects|weights"):
    draw(1, **options)


def test_jitter_bounds_the_distance_to_the_middle_of_a_region():
  def distance(coordinate, item):
    # A shape that the middle does not leave room for is moved in.
    margin = math.ceil(scenes.REACH[item.shape] * scenes.RADIUS[item.size]) + 1
    low, high = margin, scenes.CANVAS - margin
    middles = np.clip(scenes.REGION_CENTERS, low, high)
    return np.abs(middles - coordinate).min()

  for jitter in (0, 3):
    drawn = [o for s in draw(200, jitter=jitter) for o in s.objects]
    far = [distance(c, o) for o in drawn for c in (o.x, o.y)]
    assert max(far) == jitter
    assert {scenes.region(o.x, o.y) for o in drawn} >= {"center", "left"}


def test_overlap_and_repeat_are_probabilities():
  def any_touching(scene):
    return any(
      scenes.touches(a, b)
      for i, a in enumerate(scene.objects)
      for b in scene.objects[:i]
    )

  assert not any(map(any_touching, draw(200, overlap=0.0)))
  assert any(map(any_touching, draw(200, overlap=1.0)))
  for scene in draw(100, repeat=0.0):
    assert len({(o.shape, o.color) for o in scene.objects}) == len(
      scene.objects
    )
  for scene in draw(100, repeat=1.0):
    assert len({o.shape for o in scene.objects}) == 1


def test_invalid_scenes_are_recognised():
  item = scenes.Object("circle", "red", "small", 12, 12)
  near = dataclasses.replace(item, color="blue", x=16)
  twin = dataclasses.replace(item, x=28)
  assert scenes.is_valid(scenes.Scene((item,)))
  assert not scenes.is_valid(scenes.Scene((item, near)))  # too much hidden
  assert not scenes.is_valid(scenes.Scene((twin, item)))  # not in depth order
  assert not scenes.is_valid(scenes.Scene((dataclasses.replace(item, x=3),)))
  assert not scenes.is_valid(scenes.Scene((dataclasses.replace(item, x=24),)))
  person = scenes.Figure("standing", 20, 20)
  assert not scenes.is_valid(scenes.Scene((item,), figure=person))


def test_regions_and_relations():
  assert scenes.region(10, 10) == "top left"
  assert scenes.region(32, 32) == "center"
  assert scenes.region(50, 32) == "right"
  a = scenes.Object("circle", "red", "small", 12, 30)
  b = dataclasses.replace(a, x=50)
  assert scenes.relation(a, b) == "left of"
  assert scenes.relation(b, a) == "right of"
  assert scenes.relation(a, dataclasses.replace(a, x=14, y=50)) == "above"
  assert scenes.relation(a, dataclasses.replace(a, x=30, y=48)) == ""


def test_the_lower_in_the_picture_the_nearer():
  for scene in draw(100):
    heights = [o.y for o in scene.objects]
    assert heights == sorted(heights)


def test_depth_ranks_include_the_figure():
  objects = (
    scenes.Object("circle", "red", "small", 10, 10),
    scenes.Object("star", "blue", "small", 10, 50),
  )
  figure = scenes.Figure("standing", 46, 30)
  assert scenes.depth_rank(scenes.Scene(objects)) == ([0, 1], -1)
  assert scenes.depth_rank(scenes.Scene(objects, figure=figure)) == ([0, 2], 1)


def test_split_is_decided_by_the_scene_up_to_pixels():
  shares = Counter(scenes.split(s) for s in draw(2000))
  assert shares["train"] > 1500
  assert shares["validation"] > 120
  assert shares["test"] > 120
  for scene in draw(100, max_objects=1):
    item = scene.objects[0]
    for dx in (-1, 1):
      moved = dataclasses.replace(item, x=item.x + dx)
      if scenes.region(moved.x, moved.y) == scenes.region(item.x, item.y):
        other = dataclasses.replace(scene, objects=(moved,))
        assert scenes.split(other) == scenes.split(scene)
