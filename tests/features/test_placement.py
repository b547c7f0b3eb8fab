"""Parameters and batches over the local devices (eight virtual ones here)."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.features import placement
from unialign_jax.features import storage
from unialign_jax.models import t5

SMALL = t5.T5Config(
  vocab_size=64,
  d_model=64,
  d_kv=8,
  d_ff=160,
  num_layers=6,
  num_heads=8,
  feed_forward_proj="gated-gelu",
)


def _abstract(config):
  ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  init = t5.T5Encoder(config).init
  return jax.eval_shape(init, jax.random.key(0), ids)["params"]


@pytest.fixture(scope="module")
def params():
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32),
    _abstract(SMALL),
  )


def _bytes(tree) -> int:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _apply(params, ids):
  return t5.T5Encoder(SMALL).apply({"params": params}, ids)


def _spread() -> jax.NamedSharding:
  return jax.NamedSharding(placement.local_mesh(), jax.P(placement.AXIS))


@pytest.mark.parametrize("shares", [2, 4, 8])
def test_t5_xxl_is_cut_evenly(shares):
  """The sizes that the module's docstring states."""
  leaves = flax.traverse_util.flatten_dict(_abstract(storage.T5_XXL), sep="/")
  whole = share = 0
  for name, leaf in leaves.items():
    spec = placement.t5_spec(name, leaf.shape, shares, "x")
    assert not name.startswith("layers/") or spec[:1] in ((), (None,))
    whole += leaf.size
    share += leaf.size // (shares if "x" in spec else 1)
  assert whole == 4_762_310_656
  assert share < 1.001 * whole / shares


def test_what_does_not_divide_stays_whole():
  name = "layers/mlp/wi_0/kernel"
  assert placement.t5_spec(name, (2, 8, 12), 4, "x") == jax.P(None, None, "x")
  assert placement.t5_spec(name, (2, 8, 12), 8, "x") == jax.P()
  assert placement.t5_spec("layers/mlp/wi/kernel", (2, 8, 8), 8, "x") != jax.P()
  with pytest.raises(ValueError, match=r"T5_TABLE has 0 rows for layers/new"):
    placement.t5_spec("layers/new", (2, 8), 8, "x")


def test_a_device_holds_its_share(params):
  placed = placement.shared(params)
  for got, want in zip(
    jax.tree.leaves(placed), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_array_equal(got, want)
  first = jax.local_devices()[0]
  mine = [
    shard.data
    for leaf in jax.tree.leaves(placed)
    for shard in leaf.addressable_shards
    if shard.device == first
  ]
  assert _bytes(mine) < 1.05 * _bytes(params) / 8


def test_shared_parameters_give_what_one_device_gives(params):
  ids = np.random.default_rng(1).integers(0, 64, (21, 10), np.int32)
  device = jax.local_devices()[3]
  want = jax.jit(_apply)(jax.device_put(params, device), ids)
  assert want.devices() == {device}
  apart = jax.jit(placement.keep_apart(_apply, _spread()))
  got = placement.in_batches(apart, placement.shared(params), ids, 8)
  np.testing.assert_allclose(got, want, atol=1e-5)
  repeated = placement.repeated(params)
  got = placement.in_batches(jax.jit(_apply), repeated, ids, 8)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_kernels_are_gathered_one_by_one_and_examples_never(params):
  """What moves between devices are kernels of one layer, and token ids."""
  batch = jax.ShapeDtypeStruct((16, 32), jnp.int32, sharding=_spread())
  apart = placement.keep_apart(_apply, _spread())
  lowered = jax.jit(apart).lower(placement.shared(params), batch)
  compiled = lowered.compile()
  assert compiled.output_shardings.spec[0] == placement.AXIS
  lines = compiled.as_text().splitlines()
  gathers = [line for line in lines if " all-gather(" in line]
  kernels = [line for line in gathers if "/layers/" in line]
  assert len(kernels) == 7  # q, k, v, o, wi_0, wi_1, wo, inside the loop
  assert all(" s32[" in line for line in gathers if line not in kernels)
  assert not any("all-reduce" in line for line in lines)
  layer = _bytes(params["layers"]) // SMALL.num_layers
  activations = 2 * 32 * SMALL.d_ff * 4  # of a device's two examples
  temporary = compiled.memory_analysis().temp_size_in_bytes
  assert temporary < layer + 6 * activations


def test_no_examples_are_refused(params):
  with pytest.raises(ValueError, match="empty batch"):
    placement.in_batches(None, params, np.zeros((0, 4), np.int32), 8)
