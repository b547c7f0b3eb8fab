"""Attention: what every implementation must compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from tests.models import network
from tests.training import tiny
from unialign_jax.models import attention
from unialign_jax.models import mmdit
from unialign_jax.models import products


@pytest.mark.parametrize("dtype, atol", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_attention_is_softmax_attention(dtype, atol):
  q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 7, 2, 4), jnp.float32)
  scores = np.einsum("bsnk,btnk->bnst", q, k) / 2.0
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  want = np.einsum("bnst,btnk->bsnk", weights, v)
  (got,) = attention.attention(*((x.astype(dtype),) for x in (q, k, v)))
  assert got.dtype == dtype
  np.testing.assert_allclose(got.astype(jnp.float32), want, atol=atol)


@pytest.mark.parametrize(
  ("dtype", "atol"), [("float32", 1e-5), ("bfloat16", 2e-2)]
)
def test_tokamax_computes_the_same(dtype, atol):
  pytest.importorskip("tokamax")
  flags.FLAGS.mark_as_parsed()  # it reads some, as those of a command line
  qkv = jax.random.normal(jax.random.key(0), (3, 2, 128, 2, 64)).astype(dtype)
  outcomes = {}
  for name in ("xla", "tokamax"):

    def loss(qkv: jax.Array, name: str = name) -> tuple[jax.Array, jax.Array]:
      parts = ((x[:, :96], x[:, 96:]) for x in qkv)
      out = attention.attention(*parts, implementation=name)
      out = jnp.concatenate(out, axis=1).astype(jnp.float32)
      return jnp.sum(jnp.sin(out)), out

    with jax.numpy_dtype_promotion("standard"):  # of its own kernels
      outcomes[name] = jax.jit(jax.grad(loss, has_aux=True))(qkv)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a.astype(jnp.float32), b.astype(jnp.float32), atol=atol
    ),
    *outcomes.values(),
  )


def test_products_of_bf16_run_in_every_shape():
  """CPUs compute them in bf16 where XLA's layouts allow it, or not at all."""
  for batch, tokens, width, heads in (
    (1, 16, 64, 1),
    (3, 17, 60, 3),
    (4, 1, 8, 2),
  ):
    shape = (batch, tokens, heads, width // heads)
    x = jnp.ones((batch, tokens, width), jnp.bfloat16)
    layer = products.Dense((heads, width // heads), dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), x)

    def loss(params, x, layer=layer, shape=shape):
      q = layer.apply(params, x).reshape(shape)
      (out,) = attention.attention((q,), (q,), (q,), implementation="xla")
      return jnp.sum(out.astype(jnp.float32))

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    assert all(
      jnp.isfinite(g.astype(jnp.float32)).all() for g in jax.tree.leaves(grads)
    )


def test_unknown_attention_raises(params):
  config = dataclasses.replace(tiny.model_config(), attention="flash")
  with pytest.raises(ValueError, match=r"config.model.attention: got 'flash'"):
    network.run(mmdit.MMDiT(config), params, network.inputs())
