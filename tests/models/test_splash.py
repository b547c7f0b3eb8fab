"""The TPU kernel, in Pallas' interpreter, against plain contractions."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import sharding
from unialign_jax.models import attention
from unialign_jax.models import splash

EMPTY = jax.sharding.AbstractMesh((), ())


def _inputs(dtype: str) -> jax.Array:
  shape = (3, 4, 256, 2, 64)  # q, k, v of [B, S, N, K]
  return jax.random.normal(jax.random.key(0), shape).astype(dtype)


def _with_gradient(attend: Any, qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
  def loss(qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
    out = attend(*qkv)
    return jnp.sum(jnp.sin(out.astype(jnp.float32))), out

  grads, out = jax.jit(jax.grad(loss, has_aux=True))(qkv)
  return out.astype(jnp.float32), grads.astype(jnp.float32)


def _splash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  return splash.attention(q, k, v, checkpoint_name="saved", interpret=True)


@pytest.mark.parametrize("sizes", [None, (2, 2, 2)], ids=["one device", "mesh"])
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


def test_what_does_not_fit():
  mesh = sharding.make_mesh(2, 2, 2).abstract_mesh
  assert splash.fits((4, 128, 2, 64), mesh)
  assert not splash.fits((2, 128, 2, 64), mesh)  # examples
  assert not splash.fits((4, 100, 2, 64), mesh)  # tokens
  assert not splash.fits((4, 128, 3, 64), mesh)  # heads
  assert splash.fits((1, 128, 3, 64), EMPTY)
  q = jnp.zeros((1, 100, 2, 64))
  with pytest.raises(ValueError, match="a multiple of 128"):
    attention.attention(q, q, q, implementation="splash")
