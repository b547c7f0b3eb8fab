"""The tfds data set: round trip, recipe, splits, no TensorFlow."""

import dataclasses
import sys

import numpy as np
import pytest

from unialign_jax.data import sample as samples
from unialign_jax.shapes import builder
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import tasks


def config(**changes) -> builder.ShapesConfig:
  options = {
    "task": "personalise_multi",
    "train": 6,
    "validation": 3,
    "test": 3,
    "world": tasks.World(max_tokens=23),
  }
  return builder.ShapesConfig(**options | changes)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shapes")
  builder.prepare(folder, config())
  return folder


def test_round_trip_gives_the_same_samples(data_dir):
  for split, count in (("train", 6), ("validation", 3), ("test", 3)):
    read = list(builder.samples(data_dir, split, "personalise_multi"))
    assert len(read) == count
    for item in read:
      index = int(item.key.split("/")[-1])
      made = builder.example(config(), split, index)
      for field in dataclasses.fields(samples.Sample):
        np.testing.assert_equal(
          getattr(item, field.name), getattr(made, field.name)
        )


def test_files_are_array_records(data_dir):
  names = [p.name for p in data_dir.rglob("*array_record*")]
  assert len(names) == 3


def test_splits_are_disjoint_by_scene(data_dir):
  signatures = {}
  for split in builder.SPLITS:
    for item in builder.samples(data_dir, split, "personalise_multi"):
      scene = scenes.Scene.from_json(item.scene)
      assert scenes.split(scene) == split
      signatures.setdefault(split, set()).add(scenes.signature(scene))
  assert not signatures["train"] & signatures["test"]


def test_the_recipe_is_checked(data_dir):
  builder.prepare(data_dir, config())
  with pytest.raises(ValueError, match=r"other values of \['seed'\]"):
    builder.prepare(data_dir, config(seed=1))
  with pytest.raises(ValueError, match="unknown task"):
    builder.ShapesConfig(task="paint")
  with pytest.raises(ValueError, match="unknown split"):
    builder.example(config(), "dev", 0)


def test_samples_depend_on_seed_split_and_index_alone():
  base = builder.example(config(), "train", 0)
  longer = builder.example(config(train=100), "train", 0)
  np.testing.assert_array_equal(base.target_image, longer.target_image)
  others = [
    builder.example(config(seed=1), "train", 0),
    builder.example(config(), "train", 1),
    builder.example(config(), "test", 0),
  ]
  assert all(o.scene != base.scene for o in others)


def test_tensorflow_is_not_needed(data_dir):
  assert next(builder.samples(data_dir, "test", "personalise_multi"))
  assert "tensorflow" not in sys.modules
