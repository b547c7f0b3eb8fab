"""What a TPU is given: products of int8 matrices, by the real TPU compiler."""

import collections
import functools
import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.models import mmdit
from unialign_jax.planning import compiled
from unialign_jax.planning import planner
from unialign_jax.sampling import image as image_sampling
from unialign_jax.use import quantise

SMALL = pathlib.Path(__file__).parents[1] / "planning" / "small.py"
_CONVERTED = re.compile(r"= (\w+)\[\S* convert\(%([\w.\-]+)\)")
_DEFINED = re.compile(r"%([\w.\-]+) = (\w+)\[")
_PRODUCT = re.compile(
  r"= (\w+)\[\S* (?:convolution|dot)\(%([\w.\-]+), %([\w.\-]+)\)"
)


def _products(hlo: str) -> collections.Counter:
  """How many matrix products there are of which types."""
  types = dict(_DEFINED.findall(hlo))
  return collections.Counter(
    (types[first], types[second], out)
    for out, first, second in _PRODUCT.findall(hlo)
  )


def _hlo(quantize: str | None) -> str:
  """The sampler of a small network, compiled for a v5e slice."""
  config = planner.as_planned(config_lib.load_file(str(SMALL)))
  mesh = compiled.slice_mesh("v5e:2x2", config)
  model = mmdit.MMDiT(config.model)
  params = jax.tree.map(
    lambda x: np.ones(x.shape, jnp.bfloat16),
    mmdit.abstract_params(model.config),
  )
  # Quantised here; there it lies by the same axes.
  here = sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  places = jax.tree.map(
    lambda spec: jax.NamedSharding(here, spec),
    sharding.param_specs(params, mesh),
  )

  def there(
    spec: jax.P, shape: tuple, dtype: jnp.dtype
  ) -> jax.ShapeDtypeStruct:
    place = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

  placed = quantise.place(params, places, quantize)
  text = (config.data.text_length, config.model.text_dim)
  draw = jax.jit(
    functools.partial(
      image_sampling.sample_images,
      quantise.applied(model.apply, quantize),
      **config.sample.for_images(),
    )
  )
  with jax.set_mesh(mesh):
    traced = draw.trace(
      jax.tree.map(lambda x: there(x.sharding.spec, x.shape, x.dtype), placed),
      there(sharding.BATCH, (8, *text), jnp.bfloat16),
      there(jax.P(), text, jnp.bfloat16),
      there(sharding.BATCH, (8, *config.latent_shape), jnp.float32),
    )
  return traced.lower().compile().as_text()


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="libtpu, the TPU compiler, has no wheel for this platform",
)
def test_a_tpu_multiplies_int8():
  """Not numbers that were int8 once: six products a stream.

  The seventh, the modulation, has one row for the whole batch: the compiler
  multiplies and adds it up element by element, in integers as well.
  """
  hlo = _hlo("int8")
  plain, low = _products(_hlo(None)), _products(hlo)
  assert not any("s8" in types for types in plain)
  assert low["s8", "s8", "s32"] == 2 * 6
  assert low.total() == plain.total()
  types = dict(_DEFINED.findall(hlo))
  assert {
    to for to, name in _CONVERTED.findall(hlo) if types[name] == "s8"
  } == {"s32"}
