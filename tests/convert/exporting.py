"""A small run with random weights, for the tests of export."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.convert import model_card
from unialign_jax.models import mmdit

ORIGIN = model_card.Origin(
  run="runs/small", step=7, weights="ema", dtype="float32"
)


def config(**model: Any) -> config_lib.Config:
  """The tiny Shapes config, with changes to its model."""
  values = config_lib.load_file("tiny.py")
  values.model.update(model)
  return config_lib.from_dict(values)


def abstract_params(model: mmdit.MMDiTConfig) -> Any:
  """Shapes of the parameters."""
  side = model.patch_size
  return jax.eval_shape(
    mmdit.MMDiT(model).init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, side, side, model.in_channels), jnp.float32),
    jax.ShapeDtypeStruct((1, 1, model.text_dim), jnp.float32),
    jax.ShapeDtypeStruct((1,), jnp.float32),
  )["params"]


def random_params(model: mmdit.MMDiTConfig) -> Any:
  """Parameters none of which is zero, so that none can be lost unseen."""
  rng = np.random.default_rng(0)

  def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    return (0.1 * rng.normal(size=leaf.shape)).astype(np.float32)

  return jax.tree.map(draw, abstract_params(model))


@functools.cache
def small() -> tuple[config_lib.Config, Any]:
  """Config and parameters, the same for all tests."""
  made = config()
  return made, random_params(made.model)


def write_run(workdir: pathlib.Path) -> pathlib.Path:
  """A workdir with one checkpoint of `small`, at step 0."""
  checkpoint.write_weights(workdir, *small(), origin={"source": "a test"})
  return workdir
