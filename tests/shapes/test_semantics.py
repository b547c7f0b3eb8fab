"""Attribute vectors: one space for scenes and captions."""

import dataclasses

import numpy as np
import pytest

from unialign_jax.data import sample as samples
from unialign_jax.shapes import language
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import semantics
from unialign_jax.shapes import tasks


def test_vectors_have_unit_length_even_without_attributes():
  for vector in (
    semantics.embed_scene(scenes.Scene(())),
    semantics.embed_caption(""),
    semantics.embed_caption("something else entirely"),
    semantics.embed_caption("two red circles on a striped gray background"),
  ):
    assert vector.shape == (semantics.WIDTH,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_a_caption_is_nearest_to_its_own_scene():
  rng = np.random.default_rng(0)
  drawn = [scenes.sample_scene(rng) for _ in range(40)]
  images = np.stack([semantics.embed_scene(s) for s in drawn])
  texts = np.stack(
    [semantics.embed_caption(language.captions(s, rng)[-1]) for s in drawn]
  )
  nearest = (texts @ images.T).argmax(axis=1)
  assert (nearest == np.arange(40)).mean() >= 0.95


@pytest.mark.parametrize(
  ("caption", "features"),
  [
    ("a red circle", {"shape circle", "color red", "red circle"}),
    ("red", {"color red"}),
    ("waving", {"pose waving"}),
    ("at the top left", {"place top left"}),
    ("left of the square", {"relation left of", "shape square"}),
    (
      "a ring on a dotted mint background",
      {"shape ring", "ground mint", "texture dotted"},
    ),
    (
      "the background is gray. there is a small star.",
      {"shape star", "size small", "ground gray", "texture plain"},
    ),
  ],
)
def test_words_become_features(caption, features):
  vector = semantics.embed_caption(caption)
  named = {semantics.FEATURES[i] for i in np.nonzero(vector)[0]}
  assert named == features | {"bias"}


def test_mentions_bind_adjectives_and_numbers_to_nouns():
  said = "two red circles, a small blue square and three stars"
  assert semantics.mentions(said) == [
    (2, "red", "", "circle"),
    (1, "blue", "small", "square"),
    (3, "", "", "star"),
  ]


def test_scene_vector_counts_what_is_there():
  objects = tuple(
    scenes.Object("circle", "red", "small", x, 12) for x in (10, 50)
  )
  vector = semantics.embed_scene(scenes.Scene(objects))
  by_name = dict(zip(semantics.FEATURES, vector))
  assert by_name["shape circle"] == pytest.approx(2 * by_name["bias"])
  assert by_name["red circle"] == by_name["shape circle"]
  assert by_name["shape star"] == 0


def named(vector: np.ndarray) -> set[str]:
  return {semantics.FEATURES[i] for i in np.nonzero(vector)[0]}


def test_the_encoder_describes_targets_and_captions_of_all_tasks():
  rng = np.random.default_rng(0)
  drawn = [tasks.make(task, rng) for task in samples.TASKS]
  encoder = semantics.SceneAttributes()
  images, texts = encoder(drawn)
  assert images.shape == texts.shape == (len(drawn), encoder.dim)
  for vector, item in zip(texts, drawn):
    np.testing.assert_array_equal(vector, semantics.embed_caption(item.caption))
  foreign = dataclasses.replace(drawn[0], scene="")
  with pytest.raises(ValueError, match="no scene"):
    encoder([foreign])


def test_maps_and_styles_hide_colors():
  rng = np.random.default_rng(0)
  encoder = semantics.SceneAttributes()
  colored = {f"color {color}" for color in scenes.COLORS}
  for kind in ("canny", "depth", "pose"):
    item = tasks.make("perception", rng, kind=kind)
    shown = named(encoder([item])[0][0])
    assert f"map {kind}" in shown
    assert not shown & colored
    # The caption of a map says nothing that the map does not show.
    assert named(encoder([item])[1][0]) <= shown
  item = tasks.make("edit", rng, kind="style")
  assert not named(encoder([item])[0][0]) & colored
