"""The TPU kernel, in Pallas' interpreter, against plain contractions."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import sharding
from unialign_jax.models import attention
from unialign_jax.models import splash


def _inputs(dtype: str) -> jax.Array:
  shape = (3, 4, 512, 2, 64)  # q, k, v of [B, S, N, K]
  return jax.random.normal(jax.random.key(0), shape).astype(dtype)


def _with_gradient(attend: Any, qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
  def loss(qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
    out = attend(*qkv)
    return jnp.sum(jnp.sin(out.astype(jnp.float32))), out

  grads, out = jax.jit(jax.grad(loss, has_aux=True))(qkv)
  return out.astype(jnp.float32), grads.astype(jnp.float32)


def _splash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Of a stream of 384 tokens and one of 128."""
  parts = [jnp.split(x, [384], axis=1) for x in (q, k, v)]
  out = attention.attention(*map(tuple, parts), implementation="splash")
  return jnp.concatenate(out, axis=1)


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(
    splash, "attention", functools.partial(splash.attention, interpret=True)
  )


@pytest.mark.parametrize(
  "sizes",
  [None, (2, 2, 2, 1), (2, 1, 2, 2)],
  ids=["one device", "mesh", "sequence"],
)
@pytest.mark.parametrize(
  ("dtype", "tolerance"), [("float32", 2e-5), ("bfloat16", 3e-2)]
)
def test_it_is_softmax_attention(sizes, dtype: str, tolerance: float):
  qkv = _inputs(dtype)
  want = _with_gradient(attention._contract, qkv.astype(jnp.float32))
  mesh = sizes and sharding.make_mesh(*sizes)
  with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
    got = _with_gradient(_splash, qkv)
  for one, other in zip(got, want):
    np.testing.assert_allclose(one, other, atol=tolerance * np.abs(other).max())


def test_blocks_divide_and_fit():
  assert splash.block_size(1280, "TPU v6 lite") == 1280
  assert splash.block_size(1280, "TPU v5 lite") == 640
  assert splash.block_size(2304, "TPU v6 lite") == 1152
  assert splash.block_size(2304, "TPU v5 lite") == 768
  assert splash.block_size(128, "") == 128


@pytest.mark.parametrize(
  "shape",
  [(3, 256, 2, 64), (4, 200, 2, 64), (4, 256, 3, 64), (4, 384, 2, 64)],
  ids=["examples", "tokens", "heads", "tokens a device"],
)
def test_what_does_not_fit(shape: tuple[int, ...]):
  q = (jnp.zeros(shape),)
  refused = pytest.raises(ValueError, match="a multiple of 128")
  with jax.set_mesh(sharding.make_mesh(2, 1, 2, 2)), refused:
    attention.attention(q, q, q, implementation="splash")
