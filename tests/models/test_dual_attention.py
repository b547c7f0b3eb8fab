"""Blocks whose image also attends to itself: same forms, same rules."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import network
from tests.training import tiny
from unialign_jax import sharding
from unialign_jax.models import heads as heads_lib
from unialign_jax.models import layers
from unialign_jax.models import mmdit
from unialign_jax.training import optimizer

DUAL = {"depth": 3, "dual_attention_depth": 2, "align_depth": 2}
ALONE = r"dual_blocks/image/attn2/.*"


def _model(**changes):
  return mmdit.MMDiT(tiny.model_config(**(DUAL | changes)))


@pytest.fixture(scope="module")
def params():
  return tiny.params(_model(qk_norm=True))


@pytest.fixture(scope="module")
def gradient(params):
  """Config changes -> (outputs, gradient) of one function of all outputs."""

  @functools.cache
  def compute(**changes):
    model = _model(qk_norm=True, **changes)

    def run(params):
      out = network.run(model, params, network.inputs())
      return sum(network.project(o) for o in out), out

    grads, out = tiny.jit(jax.grad(run, has_aux=True))(params)
    return out, grads

  return compute


@pytest.fixture(scope="module")
def streams(params):
  """Image and text after every block, as the loop form shows them."""
  loop = _model(qk_norm=True, scan_layers=False)
  run = functools.partial(network.run, loop, mutable=["intermediates"])
  _, shown = tiny.jit(run)(params, network.inputs())
  return shown["intermediates"]["blocks"]


def _scaled(params, pattern, factor):
  mask = optimizer.trainable_mask(params, (pattern,))
  return jax.tree.map(lambda p, m: p * (factor if m else 1.0), params, mask)


def test_parameters_are_a_second_stack_with_attn2_and_nine_chunks(params):
  shapes = jax.tree.map(jnp.shape, params)
  plain, dual = shapes.pop("blocks"), shapes.pop("dual_blocks")
  plain, dual = (
    flax.traverse_util.flatten_dict(tree, sep="/") for tree in (plain, dual)
  )
  attention = ("q", "k", "v", "out", "q_norm", "k_norm")
  for name, shape in plain.items():
    if name.startswith("image/modulation"):
      assert shape[-1] == 6 * 32
      shape = (*shape[:-1], 9 * 32)
    assert dual[name] == (2, *shape[1:]), name
    if (rest := name.removeprefix("image/")).split("/")[0] in attention:
      assert dual.pop(f"image/attn2/{rest}") == (2, *shape[1:])
  assert set(dual) == set(plain)
  others = jax.tree.map(jnp.shape, tiny.params(_model(dual_attention_depth=0)))
  del others["blocks"]
  assert shapes == others


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
@pytest.mark.parametrize("dual_depth", [0, 2, 3])
def test_a_stack_of_no_blocks_is_not_there(scan, dual_depth):
  model = _model(dual_attention_depth=dual_depth, scan_layers=scan)
  given = tiny.params(model)
  want = {k for k, n in (("dual_blocks", dual_depth),) if n}
  want |= {"blocks"} if dual_depth < 3 else set()
  assert {name for name in given if "blocks" in name} == want
  out = jax.eval_shape(
    functools.partial(network.run, model), given, network.inputs()
  )
  assert out.image_mid_BE.shape == (network.B, 16)


def test_a_fresh_block_does_nothing():
  shape = (32, 2, 4, True, "xla", jnp.dtype("float32"))
  block = layers.JointBlock(*shape, dual=True)
  image, text = jax.random.normal(jax.random.key(1), (2, 2, 5, 32), jnp.float32)
  time = image[:, 0]
  variables = tiny.jit(block.init)(jax.random.key(0), image, text, time)
  got = tiny.jit(block.apply)(variables, image, text, time)
  np.testing.assert_array_equal(got, (image, text))


def test_second_attention_is_the_images_alone():
  """Without it the block is an ordinary one; with it text sees no more."""
  shape = (32, 2, 4, True, "xla", jnp.dtype("float32"))
  block, plain = (layers.JointBlock(*shape, dual=d) for d in (True, False))
  rng = np.random.default_rng(0)
  image, other, text = jnp.asarray(rng.normal(size=(3, 2, 5, 32)), jnp.float32)
  time = text[:, 0]
  abstract = jax.eval_shape(block.init, jax.random.key(0), image, text, time)
  given = jax.tree.map(
    lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32),
    abstract["params"],
  )
  apply = tiny.jit(block.apply)
  image_out, text_out = apply({"params": given}, image, text, time)

  stream = dict(given["image"])
  stream.pop("attn2")
  chunks = jax.tree.map(lambda m: m[..., : 6 * 32], stream["modulation"])
  ordinary = given | {"image": stream | {"modulation": chunks}}
  want_image, want_text = plain.apply({"params": ordinary}, image, text, time)
  tiny.assert_close(text_out, want_text, 1e-5)
  assert network.size(image_out - want_image) > 1e-2

  # Nothing but the second attention mixes tokens once the first is shut: the
  # image then depends on its own tokens and not on the text.
  stream = given["image"]
  closed = given | {"image": stream | {"out": _zeros(stream["out"])}}
  base = apply({"params": closed}, image, text, time)[0]
  no_text = apply({"params": closed}, image, text + 1.0, time)[0]
  np.testing.assert_array_equal(base, no_text)
  moved = image.at[:, 1:].set(other[:, 1:])
  mixed = apply({"params": closed}, moved, text, time)[0]
  assert network.size(mixed[:, 0] - base[:, 0]) > 1e-2


def _zeros(tree):
  return jax.tree.map(jnp.zeros_like, tree)


def test_every_parameter_counts(gradient):
  _, grads = gradient()
  leaves = flax.traverse_util.flatten_dict(grads["dual_blocks"], sep="/")
  for name, leaf in leaves.items():
    if not name.endswith("k/bias"):  # shifts all scores of a query alike
      for layer in range(2):
        assert network.size(leaf[layer]) > 1e-4, (name, layer)


def test_scan_equals_loop(gradient):
  for got, want in zip(gradient(scan_layers=False), gradient()):
    tiny.assert_close(got, want, 1e-5)


@pytest.mark.parametrize(
  "policy, scan", [("full", False), ("attention_qkv", True)]
)
def test_remat_equals_none(gradient, policy, scan):
  got = gradient(remat=policy, scan_layers=scan)
  for a, b in zip(got, gradient()):
    tiny.assert_close(a, b, 1e-5)


def test_remat_keeps_both_attentions():
  def kept(policy):
    model = _model(remat=policy)

    def pullback(params):
      return jax.vjp(lambda p: network.run(model, p, network.inputs()), params)[
        1
      ]

    shapes = jax.eval_shape(pullback, tiny.params(model))
    return sum(x.size for x in jax.tree.leaves(shapes))

  image = network.TARGET_TOKENS * (1 + network.N)
  tokens = 3 * (image + tiny.TEXT_LENGTH) + 2 * image
  outputs, log_sums = network.B * tokens * 32, network.B * tokens * 2
  assert kept("attention") == kept("full") + outputs + log_sums


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_alignment_heads_read_their_depth(params, streams, scan, depth):
  """Before, at and after the end of the first stack: pooled and by token."""
  assert len(streams) == 3
  image, text = streams[depth - 1]
  image = image[:, : network.TARGET_TOKENS]

  model = _model(qk_norm=True, scan_layers=scan, align_depth=depth)
  names = ("image_mid", "text_mid", "image_mid_patches")
  alone = functools.partial(network.run, model, heads=names)
  got = tiny.jit(alone)(params, network.inputs())
  want = {}
  for name, head, features in (
    ("image_mid_BE", "align_image", image.mean(1)),
    ("text_mid_BE", "align_text", text.mean(1)),
    ("image_mid_BTE", "align_image", image),
  ):
    adapter = heads_lib.AlignHead(16, 16, jnp.float32)
    want[name] = adapter.apply({"params": params[head]}, features)
  tiny.assert_close({name: getattr(got, name) for name in want}, want, 1e-5)


def test_null_image_attends_to_itself(params):
  model = _model(qk_norm=True)
  run = tiny.jit(functools.partial(network.run, model, heads=("logits",)))
  inputs = network.inputs() | {"latents": None, "cond": None}
  louder = _scaled(params, ALONE, 2.0)
  change = run(params, inputs).logits_BLV - run(louder, inputs).logits_BLV
  assert network.size(change) > 1e-3


def test_patterns_of_names_freeze_either_stack(params):
  names = optimizer.names(params)
  for pattern, prefixes in (
    (r"blocks/.*", ("blocks/",)),
    (r"(dual_)?blocks/.*", ("blocks/", "dual_blocks/")),
  ):
    mask = optimizer.trainable_mask(params, (pattern,))
    for name, is_trained in zip(jax.tree.leaves(names), jax.tree.leaves(mask)):
      assert is_trained == name.startswith(prefixes)


@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 2, 2)])
def test_eight_devices_equal_one(params, gradient, sizes):
  mesh = sharding.make_mesh(*sizes)
  places = jax.tree.map(
    lambda spec: jax.NamedSharding(mesh, spec),
    sharding.param_specs(params, mesh),
    is_leaf=lambda x: isinstance(x, jax.P),
  )
  model = _model(qk_norm=True)

  def run(params):
    out = network.run(model, params, network.inputs())
    return sum(network.project(o) for o in out), out

  spread = tiny.jit(
    jax.grad(run, has_aux=True),
    in_shardings=(places,),
    out_shardings=(places, None),
  )
  grads, out = spread(jax.device_put(params, places))
  attn2 = grads["dual_blocks"]["image"]["attn2"]
  for name in ("q", "out"):
    kernel = attn2[name]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // (
      sizes[1] * sizes[2]
    )
    assert kernel.addressable_shards[0].data.shape[0] == 2  # layers are whole
  tiny.assert_close(out, gradient()[0], 1e-5)
  tiny.assert_close(grads, gradient()[1], 1e-5)


@pytest.mark.parametrize("depth", [-1, 4])
def test_more_dual_blocks_than_blocks_raise(depth):
  with pytest.raises(
    ValueError,
    match=rf"config.model.dual_attention_depth: got {depth}.*depth = 3",
  ):
    dataclasses.replace(_model().config, dual_attention_depth=depth)
