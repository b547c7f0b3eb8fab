"""A few records of the Shapes world, made once for all tests of the loop."""

import pathlib
import socket
from collections.abc import Callable
from collections.abc import Iterator

import jax
import ml_collections
import pytest
from jax.experimental.compilation_cache import compilation_cache

from unialign_jax import config as config_lib
from unialign_jax.shapes import builder
from unialign_jax.shapes import feature_sets


@pytest.fixture(scope="session", autouse=True)
def cache_home(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
  """Commands of these tests put nothing into the user's own cache."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home")))
    yield


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


@pytest.fixture(scope="session")
def compile_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compiled(compile_folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """What these tests compile is compiled once: a folder of its own."""
  settings = {
    "jax_compilation_cache_dir": str(compile_folder),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()  # it remembers that there was none
  yield compile_folder
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture
def free_port() -> Callable[[], int]:
  def find() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
      return server.getsockname()[1]

  return find
