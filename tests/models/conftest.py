"""The network of the model's tests, made and compiled once."""

import functools

import jax
import pytest

from tests.models import network
from tests.training import tiny
from unialign_jax.models import mmdit


@pytest.fixture(scope="session")
def model():
  return mmdit.MMDiT(tiny.model_config())


@pytest.fixture(scope="session")
def params(model):
  return tiny.params(model)


@pytest.fixture(scope="session")
def apply(model):
  return tiny.jit(functools.partial(network.run, model))


@pytest.fixture(scope="session")
def fresh(model):
  inputs = network.inputs()
  init = tiny.jit(model.init)
  args = (inputs["latents"], inputs["text"], inputs["t"])
  return init(jax.random.key(0), *args)["params"]
