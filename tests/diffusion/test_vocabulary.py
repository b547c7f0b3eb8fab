"""The text loss in parts, against the logits of all positions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import sharding
from unialign_jax.diffusion import masked
from unialign_jax.diffusion import vocabulary

B, L, D, V, MASK_ID = 8, 6, 16, 24, 21


def _inputs(dtype: str = "float32", share: float = 0.5) -> dict:
  rng = np.random.default_rng(0)
  return {
    "x_BLD": jnp.asarray(rng.normal(size=(B, L, D)), dtype),
    "kernel_DV": jnp.asarray(rng.normal(size=(D, V)), dtype),
    "bias_V": jnp.asarray(rng.normal(size=V), dtype),
    "token_ids_BL": jnp.asarray(rng.integers(0, MASK_ID, (B, L)), jnp.int32),
    "is_masked_BL": jnp.asarray(rng.random((B, L)) < share),
  }


def _whole(x_BLD, kernel_DV, bias_V, token_ids_BL, is_masked_BL):
  logits_BLV = x_BLD @ kernel_DV + bias_V[None, None]
  log_prob = masked.token_log_prob(logits_BLV, token_ids_BL, MASK_ID)
  return jnp.where(is_masked_BL, log_prob, 0.0)


@functools.cache
def _compiled(rows: int):
  """Gradients of a sum that weighs every position otherwise, and values."""
  function = functools.partial(
    vocabulary.masked_log_prob, mask_id=MASK_ID, rows=rows
  )
  weights_BL = jnp.linspace(0.5, 2.0, B * L).reshape(B, L)

  def loss(trained: dict, rest: dict):
    log_prob_BL = (function if rows else _whole)(**trained, **rest)
    return jnp.sum(weights_BL * log_prob_BL), log_prob_BL

  return jax.jit(jax.grad(loss, has_aux=True))


def _gradients(rows: int, inputs: dict):
  """(of x, kernel and bias), log p; with `rows` 0 from all logits."""
  names = ("x_BLD", "kernel_DV", "bias_V")
  trained = {name: inputs[name] for name in names}
  rest = {k: v for k, v in inputs.items() if k not in names}
  return _compiled(rows)(trained, rest)


def _assert_close(got, want, rel: float = 1e-5) -> None:
  for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    g, w = np.float64(g), np.float64(w)
    assert np.abs(g - w).max() <= rel * max(np.abs(w).max(), 1e-3)


@pytest.mark.parametrize("rows", [1, 7, B * L, 100])
def test_equals_the_logits_of_all_positions(rows):
  for share in (0.0, 0.5, 1.0):
    inputs = _inputs(share=share)
    _assert_close(_gradients(rows, inputs), _gradients(0, inputs))


def test_bfloat16_errs_no_more_than_the_whole():
  exact, inputs = _gradients(0, _inputs()), _inputs("bfloat16")

  def errors(rows):
    return [
      np.abs(np.float64(f) - np.float64(e)).max() / np.abs(e).max()
      for f, e in zip(
        jax.tree.leaves(_gradients(rows, inputs)), jax.tree.leaves(exact)
      )
    ]

  for parts, whole in zip(errors(7), errors(0), strict=True):
    assert parts < 0.03 and parts < 1.5 * whole


def test_positions_that_are_not_masked_are_left_out():
  """What they hold would spoil the gradient of the kernel."""
  inputs = _inputs()
  assert 7 < int(inputs["is_masked_BL"].sum()) < B * L - 7
  inputs["x_BLD"] = jnp.where(
    inputs["is_masked_BL"][..., None], inputs["x_BLD"], jnp.nan
  )
  grads, log_prob = _gradients(1, inputs)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves((grads, log_prob)))
  spoilt, _ = _gradients(B * L, inputs)
  assert np.isnan(spoilt["kernel_DV"]).any()


def test_the_logits_of_all_positions_are_never_there():
  inputs = _inputs()
  hlo = (
    _compiled(7)
    .lower(
      {k: inputs[k] for k in ("x_BLD", "kernel_DV", "bias_V")},
      {k: inputs[k] for k in ("token_ids_BL", "is_masked_BL")},
    )
    .as_text()
  )
  assert f"tensor<7x{V}xf32>" in hlo
  for shape in (f"{B * L}x{V}", f"{B}x{L}x{V}"):
    assert f"tensor<{shape}x" not in hlo


@pytest.mark.parametrize(
  "sizes", [(1, 8, 1, 1), (2, 2, 2, 1), (2, 1, 2, 2), (1, 1, 2, 4)]
)
def test_eight_devices_equal_one(sizes):
  """(1, 1, 2, 4): six tokens that four devices do not share stay whole."""
  inputs = _inputs()
  want = _gradients(7, inputs)
  mesh = sharding.make_mesh(*sizes)
  placed = jax.device_put(
    inputs,
    {
      name: jax.NamedSharding(mesh, spec)
      for name, spec in (
        ("x_BLD", sharding.BATCH),
        ("kernel_DV", jax.P("fsdp", "tensor")),
        ("bias_V", jax.P()),
        ("token_ids_BL", sharding.BATCH),
        ("is_masked_BL", sharding.BATCH),
      )
    },
  )
  with jax.set_mesh(mesh):
    _assert_close(_gradients(7, placed), want)
