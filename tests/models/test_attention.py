"""Attention: what every implementation must compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import network
from tests.training import tiny
from unialign_jax.models import attention
from unialign_jax.models import mmdit


@pytest.mark.parametrize("dtype, atol", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_attention_is_softmax_attention(dtype, atol):
  q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 7, 2, 4), jnp.float32)
  scores = np.einsum("bsnk,btnk->bnst", q, k) / 2.0
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  want = np.einsum("bnst,btnk->bsnk", weights, v)
  (got,) = attention.attention(*((x.astype(dtype),) for x in (q, k, v)))
  assert got.dtype == dtype
  np.testing.assert_allclose(got.astype(jnp.float32), want, atol=atol)


def test_unknown_attention_raises(params):
  config = dataclasses.replace(tiny.model_config(), attention="flash")
  with pytest.raises(ValueError, match=r"config.model.attention: got 'flash'"):
    network.run(mmdit.MMDiT(config), params, network.inputs())
