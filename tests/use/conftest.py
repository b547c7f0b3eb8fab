"""A random network of the Shapes world's widths, with the shipped encoders."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax import pipeline
from unialign_jax.models import mmdit


@pytest.fixture(scope="session", autouse=True)
def compile_cache(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pathlib.Path]:
  """Nothing of these tests goes into the user's own cache."""
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("XDG_CACHE_HOME", str(folder))
    before = jax.config.jax_compilation_cache_dir
    yield folder
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="session")
def model() -> tuple[config_lib.Config, Any]:
  config = config_lib.from_dict(config_lib.load_file("shapes.py"))
  config = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, depth=2),
    sample=dataclasses.replace(config.sample, steps=2, text_steps=3),
  )
  params = mmdit.MMDiT(config.model).init(
    jax.random.key(0),
    jnp.zeros((1, *config.latent_shape)),
    jnp.zeros((1, config.data.text_length, config.model.text_dim)),
    jnp.zeros((1,)),
  )["params"]
  rng = np.random.default_rng(0)
  # Heads begin at zero: noise, so that inputs show in what comes out.
  noisy = jax.tree.map(
    lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32), params
  )
  return config, noisy


@pytest.fixture(scope="session")
def workdir(
  tmp_path_factory: pytest.TempPathFactory,
  model: tuple[config_lib.Config, Any],
) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("run")
  checkpoint.write_weights(folder, *model, {"source": "random"})
  return folder


@pytest.fixture(scope="session")
def pipe(workdir: pathlib.Path) -> pipeline.Pipeline:
  return pipeline.Pipeline.load(workdir)


@pytest.fixture
def photo() -> Image.Image:
  rng = np.random.default_rng(1)
  return Image.fromarray(rng.integers(0, 256, (90, 70, 3), np.uint8))
