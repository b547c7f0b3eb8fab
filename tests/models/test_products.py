"""Dense layers compute what they say, in the form of each platform."""

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import sharding
from unialign_jax.models import attention
from unialign_jax.models import products

PLATFORMS = ("cpu", "gpu", "tpu")


def _inputs(dtype: str) -> tuple[jax.Array, ...]:
  """x [2, 5, 8], kernel [8, 6], bias [6] and the cotangent [2, 5, 6]."""
  shapes = (2, 5, 8), (8, 6), (6,), (2, 5, 6)
  keys = jax.random.split(jax.random.key(0), 4)
  return tuple(
    jax.random.normal(key, shape).astype(dtype)
    for key, shape in zip(keys, shapes)
  )


def _both_ways():
  """A function of its own each time: JAX remembers what it has traced."""

  def compute(x, kernel, bias, grad):
    out, back = jax.vjp(products.affine, x, kernel, bias)
    return out, *back(grad)

  return compute


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
  ("dtype", "rtol"), [("float32", 1e-6), ("bfloat16", 2**-7)]
)
def test_affine_and_its_gradients(monkeypatch, platform, dtype, rtol):
  """Against float64, of the same rounded inputs."""
  monkeypatch.setattr(sharding, "platform", lambda: platform)
  inputs = _inputs(dtype)
  got = jax.jit(_both_ways())(*inputs)
  assert all(g.dtype == dtype for g in got)
  x, kernel, bias, grad = (np.asarray(a, np.float64) for a in inputs)
  want = (
    x @ kernel + bias,
    grad @ kernel.T,
    np.einsum("bti,bto->io", x, grad),
    grad.sum((0, 1)),
  )
  for a, b in zip(got, want):
    np.testing.assert_allclose(
      np.asarray(a, np.float64), b, rtol=0, atol=rtol * np.abs(b).max()
    )


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_products_of_bf16_are_asked_for(monkeypatch, platform):
  """A float32 result on a GPU would go through memory; on CPUs bf16 would."""
  monkeypatch.setattr(sharding, "platform", lambda: platform)
  jaxpr = jax.make_jaxpr(_both_ways())(*_inputs("bfloat16")).jaxpr
  results = {
    eqn.outvars[0].aval.dtype for eqn in _equations(jaxpr, "dot_general")
  }
  assert results == {jnp.dtype("bfloat16" if platform == "gpu" else "float32")}


def _equations(jaxpr, name):
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == name:
      yield eqn
    for inner in jex.core.jaxprs_in_params(eqn.params):
      yield from _equations(inner, name)


def test_no_operand_of_attention_is_transposed():
  """XLA's CPU backend would compute such a product of bf16 in float32."""

  def both_ways(q, k, v, grad):
    def attend(*qkv):
      (out,) = attention.attention(*((x,) for x in qkv), implementation="xla")
      return out

    out, back = jax.vjp(attend, q, k, v)
    return out, *back(grad)

  qkv_grad = jax.random.normal(jax.random.key(0), (4, 2, 5, 3, 8), jnp.bfloat16)
  jaxpr = jax.make_jaxpr(both_ways)(*qkv_grad).jaxpr
  operands = list(_operands(jaxpr, dict.fromkeys(jaxpr.invars, "argument")))
  assert len(operands) == 2 * (2 + 5)  # two products forwards, five backwards
  assert "transpose" not in operands


def _operands(jaxpr, made_by):
  """What made each operand of each product; `made_by` has the arguments."""
  for eqn in jaxpr.eqns:
    given = [
      made_by.get(v, "constant") if isinstance(v, jex.core.Var) else "constant"
      for v in eqn.invars
    ]
    if eqn.primitive.name == "dot_general":
      yield from given
    for inner in jex.core.jaxprs_in_params(eqn.params):
      yield from _operands(inner, dict(zip(inner.invars, given)))
    made_by.update(dict.fromkeys(eqn.outvars, eqn.primitive.name))
