"""Kernels and products in int8 and fp8: which, how close, where they lie."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qwix
from flax import linen as nn

from tests.training import tiny
from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.features import encoders
from unialign_jax.features import placement
from unialign_jax.models import mmdit
from unialign_jax.use import quantise


def _one_device() -> jax.sharding.Mesh:
  return sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])


def _placed(
  params: Any, quantize: str | None, mesh: jax.sharding.Mesh | None = None
) -> Any:
  mesh = mesh or _one_device()
  specs = sharding.param_specs(params, mesh)
  shardings = jax.tree.map(lambda s: jax.NamedSharding(mesh, s), specs)
  return quantise.place(params, shardings, quantize)


def _is_kernel(leaf: Any) -> bool:
  return isinstance(leaf, quantise.Kernel)


def _by_name(params: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_kernel)
  return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


@pytest.fixture(scope="module")
def params(model: tuple[config_lib.Config, Any]) -> Any:
  return model[1]


@pytest.fixture(scope="module")
def text(model: tuple[config_lib.Config, Any]) -> encoders.TextEncoder:
  names = model[0].encoders
  return encoders.TextEncoder.load(names.text, names.tokenizer)


def _quantised_names(low: dict[str, Any], full: dict[str, Any]) -> set[str]:
  """Of the quantised; the others are what they were, to the last bit."""
  assert set(low) == set(full)
  found = {name for name, leaf in low.items() if _is_kernel(leaf)}
  for name in set(low) - found:
    assert low[name].dtype == full[name].dtype
    np.testing.assert_array_equal(low[name], full[name])
  return found


@pytest.mark.parametrize("quantize", ["int8", "fp8"])
def test_dense_layers_of_the_blocks_and_no_others(params: Any, quantize: str):
  low = _by_name(_placed(params, quantize))
  found = _quantised_names(low, _by_name(params))
  names = r"blocks/(image|text)/([qkv]|out|mlp_in|mlp_out|modulation)/kernel"
  assert len(found) == 14
  assert all(re.fullmatch(names, name) for name in found)
  for name in found:
    assert low[name].array.qvalue.dtype == quantise.TYPES[quantize]


def test_kernels_of_t5_are_int8_whatever_is_asked(text: encoders.TextEncoder):
  cut = placement.t5_shardings(text.params, _one_device(), "fsdp")
  low = _by_name(quantise.place(text.params, cut, "fp8"))
  found = _quantised_names(low, _by_name(text.params))
  names = r"layers/(attention/[qkvo]|mlp/w(o|i_0|i_1))/kernel"
  assert len(found) == 7
  assert all(re.fullmatch(names, name) for name in found)
  for name in found:
    assert low[name].array.qvalue.dtype == jnp.int8 and not low[name].inputs


def test_values_are_within_half_a_step(params: Any):
  full = _by_name(params)
  for quantize in quantise.TYPES:
    for name, leaf in _by_name(_placed(params, quantize)).items():
      if not _is_kernel(leaf):
        continue
      array, exact = leaf.array, np.asarray(full[name])
      assert array.qvalue.dtype.itemsize == 1
      assert array.scale.dtype == jnp.float32
      # A scale a layer and output, none for what is summed over.
      ins = {"q": 1, "out": 2, "mlp_in": 1}.get(name.split("/")[2], 1)
      first, rest = exact.shape[:1], exact.shape[1 + ins :]
      assert array.scale.shape == (*first, *[1] * ins, *rest)
      error = np.abs(np.asarray(qwix.dequantize(array)) - exact)
      scale = np.asarray(array.scale)
      step = scale / 2
      if quantize == "fp8":
        step = np.maximum(np.abs(exact) / 16, scale * 2.0**-10)
      assert np.all(error <= step * 1.001)
      assert error.max() > 0


class _Two(nn.Module):
  """A stack of one layer with both kinds of dense layers of a block."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    heads = nn.DenseGeneral((2, 3), dtype=x.dtype, name="q")(x)
    return nn.DenseGeneral(5, axis=(-2, -1), dtype=x.dtype, name="out")(heads)


_ROWS = (quantise.Row("q", "IOO", True), quantise.Row("out", "IIO", True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("inputs", [True, False])
def test_a_product_is_that_of_the_rounded_matrices(inputs: bool, dtype: str):
  rng = np.random.default_rng(0)
  model = _Two()
  x = jnp.asarray(
    rng.normal(size=(4, 7, 6)) * [[[1.0]], [[9.0]], [[0.1]], [[0]]], dtype
  )
  params = jax.tree.map(
    lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype),
    model.init(jax.random.key(0), x)["params"],
  )
  rows = tuple(row._replace(inputs=inputs) for row in _ROWS)
  where = jax.NamedSharding(_one_device(), jax.P())
  places = jax.tree.map(lambda _: where, params)
  low = quantise.place(params, places, "int8", rows)
  got = quantise.applied(model.apply, "int8")({"params": low}, x)
  assert got.dtype == x.dtype and got.shape == (4, 7, 5)

  def rounded(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    scale = np.abs(a).max(axes, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.round(a / scale) * scale

  def as_input(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return rounded(a, axes) if inputs else a

  q, out = (jax.tree.map(np.asarray, params[name]) for name in ("q", "out"))
  h = np.einsum(
    "btd,dnk->btnk",
    as_input(np.asarray(x, np.float32), (-1,)),
    rounded(q["kernel"], (0,)),
  )
  h = np.asarray(jnp.asarray(h + q["bias"], dtype), np.float32)
  want = np.einsum(
    "btnk,nkd->btd", as_input(h, (-2, -1)), rounded(out["kernel"], (0, 1))
  )
  want += out["bias"]
  apart = np.abs(np.asarray(got, np.float32) - want).max()
  tolerance = 1e-5 if dtype == "float32" else 2**-8
  assert apart / np.abs(want).max() < tolerance
  exact = np.asarray(model.apply({"params": params}, x), np.float32)
  assert np.abs(want - exact).max() / np.abs(exact).max() > 1e-3


def test_without_it_nothing_changes(params: Any):
  model = mmdit.MMDiT(tiny.model_config())
  assert quantise.applied(model.apply, None) == model.apply
  for full, same in zip(
    jax.tree.leaves(params),
    jax.tree.leaves(_placed(params, None)),
    strict=True,
  ):
    np.testing.assert_array_equal(full, same)


def _outputs(model: mmdit.MMDiT, params: Any, quantize: str | None) -> Any:
  rng = np.random.default_rng(5)
  shown = jnp.asarray(rng.normal(size=(2, *tiny.LATENT_SHAPE)), jnp.float32)
  text = jnp.asarray(rng.normal(size=(2, tiny.TEXT_LENGTH, 16)), jnp.float32)
  apply = quantise.applied(model.apply, quantize)
  heads = ("velocity", "logits")
  return tiny.jit(
    lambda p: apply({"params": p}, shown, text, text[:, 0, 0], heads=heads)
  )(params)


def test_every_form_of_the_network():
  """Dual attention and normed queries; scanned and looped."""
  config = tiny.model_config(dual_attention_depth=1, qk_norm=True)
  params = tiny.params(mmdit.MMDiT(config))
  low = _placed(params, "int8")
  names = {name for name, leaf in _by_name(low).items() if _is_kernel(leaf)}
  assert {f"dual_blocks/image/attn2/{n}/kernel" for n in ("q", "out")} < names
  exact = _outputs(mmdit.MMDiT(config), params, None)
  looped = dataclasses.replace(config, scan_layers=False)
  for got in (
    _outputs(mmdit.MMDiT(config), low, "int8"),
    _outputs(mmdit.MMDiT(looped), low, "int8"),
  ):
    for name in ("velocity_BHWC", "logits_BLV"):
      want = getattr(exact, name)
      error = jnp.linalg.norm(getattr(got, name) - want)
      assert 1e-4 < error / jnp.linalg.norm(want) < 0.03


def test_a_stack_of_another_depth_is_refused():
  config = tiny.model_config(scan_layers=False)
  params = tiny.params(mmdit.MMDiT(tiny.model_config(depth=1)))
  with pytest.raises(ValueError, match="zip"):
    _outputs(mmdit.MMDiT(config), params, None)


def test_kernels_lie_as_they_would_in_full(params: Any):
  mesh = sharding.make_mesh(2, 2, 2)
  shared = _by_name(_placed(params, "int8", mesh))
  alone = _by_name(_placed(params, "int8"))
  specs = _by_name(sharding.param_specs(params, mesh))
  for name, leaf in shared.items():
    if not _is_kernel(leaf):
      assert leaf.sharding.spec == specs[name]
      continue
    assert leaf.array.qvalue.sharding.spec == specs[name]
    np.testing.assert_array_equal(leaf.array.qvalue, alone[name].array.qvalue)
  out = "blocks/image/out/kernel"
  assert specs[out] == jax.P(None, "tensor", None, "fsdp")
  assert shared[out].array.scale.sharding.spec == jax.P(
    None, None, None, "fsdp"
  )


def test_a_product_is_the_same_on_a_mesh():
  """To the last bit: integers add up in any order."""
  rng = np.random.default_rng(2)
  x = rng.normal(size=(8, 3, 8)).astype(np.float32)
  kernel = rng.normal(size=(8, 4)).astype(np.float32)
  got = []
  for mesh, spec in (
    (_one_device(), jax.P()),
    (sharding.make_mesh(2, 2, 2), jax.P("tensor", "fsdp")),
  ):
    params = quantise.place(
      {"q": {"kernel": kernel}},
      {"q": {"kernel": jax.NamedSharding(mesh, spec)}},
      "int8",
      (quantise.Row("q", "IO", True),),
    )
    examples = jax.NamedSharding(mesh, sharding.BATCH)
    model = nn.DenseGeneral(4, use_bias=False, dtype=jnp.float32)
    apply = jax.jit(quantise.applied(model.apply, "int8"))
    out = apply({"params": params["q"]}, jax.device_put(x, examples))
    got.append(np.asarray(out))
  np.testing.assert_array_equal(*got)
