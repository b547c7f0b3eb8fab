"""Forms of the network that give the same numbers: scan, loop, remat, bf16."""

import functools

import jax
import jax.numpy as jnp
import pytest

from tests.models import network
from tests.training import tiny
from unialign_jax.models import heads
from unialign_jax.models import mmdit
from unialign_jax.models import stacks


@pytest.fixture(scope="module")
def gradient(params):
  """Config changes -> (outputs, gradient) of one function of all outputs."""

  @functools.cache
  def compute(**changes):
    model = mmdit.MMDiT(tiny.model_config(**changes))

    def run(params):
      out = network.run(model, params, network.inputs())
      return sum(network.project(o) for o in out), out

    grads, out = tiny.jit(jax.grad(run, has_aux=True))(params)
    return out, grads

  return compute


def test_scan_equals_loop(gradient):
  for got, want in zip(gradient(scan_layers=False), gradient()):
    tiny.assert_close(got, want, 1e-5)


def test_a_tree_a_layer_is_the_stack(params):
  """What `stacks.by_layer` gives goes through the same network."""
  model = mmdit.MMDiT(tiny.model_config(scan_layers=False))
  apart = stacks.by_layer(params)
  assert len(apart["blocks"]) == tiny.model_config().depth
  run = tiny.jit(lambda p: network.run(model, p, network.inputs()))
  tiny.assert_close(run(apart), run(params), 1e-6)


def test_dense_layers_round_in_the_stack_as_by_themselves(params, monkeypatch):
  model = mmdit.MMDiT(tiny.model_config(dtype="bfloat16"))
  inputs = network.inputs()
  in_stack = tiny.jit(lambda p: network.run(model, p, inputs))(params)
  monkeypatch.setattr(stacks, "rounded", lambda stacked, dtype: stacked)
  alone = tiny.jit(lambda p: network.run(model, p, inputs))(params)
  assert all(map(jnp.array_equal, in_stack, alone))


@pytest.mark.parametrize(
  "policy, scan", [("full", False), ("attention_qkv", True)]
)
def test_remat_equals_none(gradient, policy, scan):
  got = gradient(remat=policy, scan_layers=scan)
  for a, b in zip(got, gradient()):
    tiny.assert_close(a, b, 1e-5)


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
def test_remat_policies_keep_what_they_say(params, scan):
  """Numbers that wait for the backward pass, policy by policy."""

  def kept(policy):
    config = tiny.model_config(remat=policy, scan_layers=scan)
    model = mmdit.MMDiT(config)

    def pullback(params):
      run = functools.partial(network.run, model, given=network.inputs())
      return jax.vjp(lambda p: run(p), params)[1]

    shapes = jax.eval_shape(pullback, params)
    return sum(x.size for x in jax.tree.leaves(shapes))

  tokens = network.B * (
    network.TARGET_TOKENS * (1 + network.N) + tiny.TEXT_LENGTH
  )
  one = tokens * 32 * 2  # one [B, S, D] in each of the two layers
  full = kept("full")
  log_sums = tokens * 2 * 2  # one [B, N, S] in each
  assert kept("attention") == full + one + log_sums
  # What made the kept values is not needed again: their biases.
  bias = 32 * 2 * 2
  assert kept("attention_qkv") == full + 4 * one - 3 * bias + log_sums
  assert kept("attention_qkv_mlp") == full + 8 * one - 7 * bias + log_sums
  assert full < kept("dots") < kept("none")
  assert set(mmdit.REMAT_POLICIES) == {
    *("none", "full", "attention", "attention_qkv", "attention_qkv_mlp"),
    "dots",
  }


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
def test_alignment_heads_read_their_depth(params, scan):
  """A change in the last block shows at its depth and not before."""

  inputs = network.inputs()
  last_changed = params | {
    "blocks": jax.tree.map(lambda p: p.at[1].multiply(2.0), params["blocks"])
  }
  for depth in (1, 2):
    config = tiny.model_config(align_depth=depth, scan_layers=scan)
    heads = ("image_mid", "text_mid", "image_mid_patches")
    run = tiny.jit(
      functools.partial(network.run, mmdit.MMDiT(config), heads=heads)
    )
    before, after = run(params, inputs), run(last_changed, inputs)
    for name in ("image_mid_BE", "text_mid_BE", "image_mid_BTE"):
      change = network.size(getattr(before, name) - getattr(after, name))
      assert change == 0 if depth == 1 else change > 1e-3


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
def test_alignment_by_patch_is_the_head_on_every_token(params, scan):
  loop = mmdit.MMDiT(tiny.model_config(scan_layers=False))
  inputs = network.inputs()
  run = functools.partial(network.run, loop, mutable=["intermediates"])
  _, shown = tiny.jit(run)(params, inputs)
  depth = loop.config.align_depth
  image, _ = shown["intermediates"]["blocks"][depth - 1]
  head = heads.AlignHead(16, 16, jnp.float32)
  want = head.apply(
    {"params": params["align_image"]}, image[:, : network.TARGET_TOKENS]
  )
  model = mmdit.MMDiT(tiny.model_config(scan_layers=scan))
  alone = functools.partial(network.run, model, heads=("image_mid_patches",))
  got = tiny.jit(alone)(params, inputs)
  tiny.assert_close(got.image_mid_BTE, want, 1e-5)
  assert got.image_mid_BE is None


def test_loop_form_shows_every_block(params):
  model = mmdit.MMDiT(tiny.model_config(scan_layers=False))
  run = functools.partial(network.run, model, mutable=["intermediates"])
  _, shown = jax.eval_shape(run, params, network.inputs())
  blocks = shown["intermediates"]["blocks"]
  assert [b[0].shape for b in blocks] == [
    (network.B, (1 + network.N) * network.TARGET_TOKENS, 32)
  ] * 2


def test_bf16_computes_in_bf16_from_fp32_parameters(params, apply, fresh):
  model = mmdit.MMDiT(tiny.model_config(dtype="bfloat16"))
  inputs = network.inputs()
  init = jax.eval_shape(
    model.init,
    jax.random.key(0),
    *(inputs[n] for n in ("latents", "text", "t")),
  )["params"]
  assert jax.tree.map(jnp.result_type, init) == jax.tree.map(
    jnp.result_type, fresh
  )
  assert {x.dtype for x in jax.tree.leaves(init)} == {jnp.dtype("float32")}
  got = tiny.jit(functools.partial(network.run, model))(params, inputs)
  for a, b in zip(got, apply(params, inputs)):
    assert a.dtype == jnp.bfloat16
    error = network.size(a.astype(jnp.float32) - b)
    assert 0 < error < 0.1 * network.size(b)
