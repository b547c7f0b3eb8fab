"""A few records of the Shapes world, made once for all tests of the loop."""

import pathlib
from collections.abc import Callable

import ml_collections
import pytest

from unialign_jax import config as config_lib
from unialign_jax.shapes import builder
from unialign_jax.shapes import feature_sets


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Feature sets of two tasks: without and with a condition image."""
  out = tmp_path_factory.mktemp("features")
  configs = [
    builder.ShapesConfig(
      task=task, train=24, validation=4, test=0, world=feature_sets.WORLD
    )
    for task in ("text_to_image", "edit")
  ]
  feature_sets.build(out, out / "tfds", configs, feature_sets.load_encoders())
  return out


@pytest.fixture(scope="session")
def make_tiny(
  features: pathlib.Path,
) -> Callable[[], ml_collections.ConfigDict]:
  """Makes configs/tiny.py on these records, anew at each call."""

  def make() -> ml_collections.ConfigDict:
    values = config_lib.load_file("tiny.py")
    values.data.sources = (
      (str(features / "train/text_to_image"), 0.5),
      (str(features / "train/edit"), 0.5),
    )
    values.sample.sources = (str(features / "validation/edit"),)
    values.mesh.data = -1
    return values

  return make


@pytest.fixture
def tiny(
  make_tiny: Callable[[], ml_collections.ConfigDict],
) -> ml_collections.ConfigDict:
  """configs/tiny.py on these records; free to edit."""
  return make_tiny()
