"""The network: what flows where, and that its forms give the same numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import tiny
from unialign_jax.models import attention
from unialign_jax.models import mmdit
from unialign_jax.training import optimizer

B, N = 2, 2
TARGET_TOKENS = 4
FIELDS = mmdit.ModelOutput._fields
# No block changes its stream: what reaches a head comes from its own tokens.
NO_BLOCKS = "blocks/.*/modulation/.*"


def _inputs():
  rng = np.random.default_rng(3)

  def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
    "latents": normal(B, *tiny.LATENT_SHAPE),
    "text": normal(B, tiny.TEXT_LENGTH, 16),
    "t": jnp.asarray([0.2, 0.9], jnp.float32),
    "cond": normal(B, N, *tiny.LATENT_SHAPE),
  }


def _apply(model, params, inputs, **kwargs):
  latents, text, t, cond = (
    inputs.get(name) for name in ("latents", "text", "t", "cond")
  )
  return model.apply({"params": params}, latents, text, t, cond, **kwargs)


def _project(x: jax.Array) -> jax.Array:
  """A number to which every element counts differently.

  Not the sum of squares, which is constant after a layer norm.
  """
  return jnp.sum(
    jnp.square(x + 1.0).ravel() * jnp.cos(jnp.arange(1.0 * x.size))
  )


@pytest.fixture(scope="module")
def model():
  return mmdit.MMDiT(tiny.model_config())


@pytest.fixture(scope="module")
def params(model):
  return tiny.params(model)


@pytest.fixture(scope="module")
def apply(model):
  return tiny.jit(functools.partial(_apply, model))


@pytest.fixture(scope="module")
def fresh(model):
  inputs = _inputs()
  init = tiny.jit(model.init)
  args = (inputs["latents"], inputs["text"], inputs["t"])
  return init(jax.random.key(0), *args)["params"]


@pytest.fixture(scope="module")
def influence(model):
  """params -> for each output, the gradient to every input."""

  @tiny.jit
  def gradients(params):
    def projections(inputs):
      return [_project(o) for o in _apply(model, params, inputs)]

    return dict(zip(FIELDS, jax.jacrev(projections)(_inputs())))

  return gradients


def _size(x: jax.Array) -> float:
  return float(jnp.abs(x).max())


def test_shapes_of_all_outputs(apply, params):
  out = apply(params, _inputs())
  L, D = tiny.TEXT_LENGTH, 32
  assert {name: x.shape for name, x in out._asdict().items()} == {
    "velocity_BHWC": (B, *tiny.LATENT_SHAPE),
    "logits_BLV": (B, L, 20),
    "image_out_BTD": (B, TARGET_TOKENS, D),
    "text_out_BLD": (B, L, D),
    "image_mid_BE": (B, 16),
    "text_mid_BE": (B, 16),
  }


def test_every_input_reaches_every_output(influence, params):
  for name, gradients in influence(params).items():
    for source, gradient in gradients.items():
      assert _size(gradient) > 1e-4, (name, source)


def test_only_the_targets_tokens_reach_the_image_heads(influence, params):
  """With blocks that do nothing, conditions have no way to a head at all."""
  mask = optimizer.trainable_mask(params, (NO_BLOCKS,))
  closed = jax.tree.map(lambda p, m: p * (0.0 if m else 1.0), params, mask)
  for name, gradients in influence(closed).items():
    is_image = name in ("velocity_BHWC", "image_out_BTD", "image_mid_BE")
    assert _size(gradients["cond"]) == 0, name
    assert (_size(gradients["latents"]) > 1e-4) == is_image, name
    assert (_size(gradients["text"]) > 1e-4) != is_image, name


def test_examples_do_not_see_each_other(apply, params):
  inputs = _inputs()
  other = jax.tree.map(lambda x: x.at[1].set(0.5), inputs)
  for a, b in zip(apply(params, inputs), apply(params, other)):
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    assert _size(a[1] - b[1]) > 1e-3


def test_conditions_share_the_targets_positions(apply, params):
  """So their order says nothing, unlike which picture is the target."""
  inputs = _inputs()
  swapped = inputs | {"cond": inputs["cond"][:, ::-1]}
  for a, b in zip(apply(params, inputs), apply(params, swapped)):
    np.testing.assert_allclose(a, b, atol=1e-5)
  exchanged = inputs | {
    "latents": inputs["cond"][:, 0],
    "cond": inputs["cond"].at[:, 0].set(inputs["latents"]),
  }
  changed = apply(params, exchanged).velocity_BHWC
  assert _size(changed - apply(params, inputs).velocity_BHWC) > 1e-2


def test_positions_tell_target_tokens_apart(apply, params):
  """A picture of equal patches gets a velocity that differs by patch."""
  inputs = _inputs()
  patch = inputs["latents"][:, :2, :2]
  equal = inputs | {"latents": jnp.tile(patch, (1, 2, 2, 1))}
  velocity = apply(params, equal).velocity_BHWC
  assert _size(velocity[:, :2, :2] - velocity[:, 2:, 2:]) > 1e-2


def test_time_is_fed_in_thousandths(apply, params):
  """Near times are told apart, as `1000 t` makes the fastest angle radians."""
  inputs = _inputs()
  near = inputs | {"t": inputs["t"] + 1e-3}
  change = (
    apply(params, near).image_out_BTD - apply(params, inputs).image_out_BTD
  )
  assert _size(change) > 1e-2


def test_heads_not_asked_for_are_none_and_the_others_unchanged(
  model, params, apply
):
  inputs = _inputs()
  names = ("velocity", "text_out", "image_mid")
  some = tiny.jit(functools.partial(_apply, model, heads=names))(params, inputs)
  for name, got, want in zip(mmdit.HEADS, some, apply(params, inputs)):
    if name in names:
      np.testing.assert_allclose(got, want, atol=1e-5)
    else:
      assert got is None


def test_heads_not_asked_for_are_not_computed(model, params):
  def ops(*names):
    jaxpr = jax.make_jaxpr(functools.partial(_apply, model, heads=names))
    return str(jaxpr(params, _inputs())).count("dot_general")

  assert ops("velocity", "logits") == ops() + 3  # modulation, 2 projections
  assert ops("image_mid") == ops() + 2
  assert ops("text_out") == ops()


def test_unknown_head_raises(model, params):
  with pytest.raises(ValueError, match=r"veloctiy.*velocity"):
    _apply(model, params, _inputs(), heads=("veloctiy",))


def test_null_image_stands_in_for_a_missing_one(model, params):
  inputs = _inputs() | {"latents": None, "cond": None}

  def run(params):
    out = _apply(model, params, inputs)
    return _project(out.logits_BLV), out

  gradient, out = tiny.jit(jax.grad(run, has_aux=True))(params)
  assert out.velocity_BHWC is None
  assert out.image_out_BTD.shape == (B, model.config.null_image_tokens, 32)
  assert _size(gradient["null_image_embed"]) > 1e-4
  assert _size(gradient["patch_embed"]["kernel"]) == 0


def test_null_image_plays_no_part_where_there_is_one(apply, params):
  changed = params | {"null_image_embed": params["null_image_embed"] + 1.0}
  for a, b in zip(apply(params, _inputs()), apply(changed, _inputs())):
    np.testing.assert_array_equal(a, b)


def test_init_without_latents_raises(model):
  inputs = _inputs()
  with pytest.raises(ValueError, match="init needs latents"):
    jax.eval_shape(
      model.init, jax.random.key(0), None, inputs["text"], inputs["t"]
    )


@pytest.mark.parametrize("shape", [(3, 4, 8), (4, 3, 8), (4, 4, 7)])
def test_latents_that_do_not_fit_raise(model, params, shape):
  inputs = _inputs()
  latents = jnp.zeros((B, *shape), jnp.float32)
  with pytest.raises(
    ValueError, match=r"latents: got.*config.model.patch_size"
  ):
    _apply(model, params, inputs | {"latents": latents, "cond": None})


def test_picture_beyond_the_position_table_raises(model, params):
  inputs = _inputs() | {"cond": None}
  latents = jnp.zeros((B, 4, 10, 8), jnp.float32)
  with pytest.raises(ValueError, match=r"config.model.pos_embed_size"):
    _apply(model, params, inputs | {"latents": latents})


@pytest.mark.parametrize(
  "change, message",
  [
    ({"width": 34, "num_heads": 2}, "config.model.width: got 34"),
    ({"width": 32, "num_heads": 3}, "config.model.width: got 32"),
    ({"align_depth": 3}, "config.model.align_depth: got 3"),
    ({"align_depth": 0}, "config.model.align_depth: got 0"),
    ({"remat": "most"}, "config.model.remat: got 'most'"),
  ],
)
def test_bad_config_raises(change, message):
  with pytest.raises(ValueError, match=message):
    tiny.model_config(**change)


def test_fresh_model_predicts_zero_velocity_and_its_blocks_do_nothing(
  apply, fresh
):
  inputs = _inputs()
  out = apply(fresh, inputs)
  assert _size(out.velocity_BHWC) == 0
  assert _size(out.logits_BLV) > 1e-2
  other = apply(fresh, inputs | {"cond": inputs["cond"] + 1.0})
  np.testing.assert_array_equal(out.image_out_BTD, other.image_out_BTD)


def test_every_layer_of_a_fresh_model_has_its_own_numbers(fresh):
  kernel = fresh["blocks"]["image"]["mlp_in"]["kernel"]
  assert _size(kernel[0] - kernel[1]) > 1e-2


def test_parameter_names(fresh, params):
  """The names that patterns, partition table and weight conversion rely on."""
  linear = ("kernel", "bias")
  stream = ("modulation", "q", "k", "v", "out", "mlp_in", "mlp_out")
  layers = [
    *("patch_embed", "context_embed", "image_head/modulation"),
    *("image_head/proj", "text_head/proj"),
    *(f"time_embed/linear_{i}" for i in (1, 2)),
    *(f"align_{s}/fc_{e}" for s in ("image", "text") for e in ("in", "out")),
    *(f"blocks/{s}/{name}" for s in ("image", "text") for name in stream),
  ]
  want = {f"{layer}/{leaf}" for layer in layers for leaf in linear}
  got = jax.tree.leaves(optimizer.names(fresh))
  assert set(got) == want | {"null_image_embed"}
  shapes = {
    "q": (2, 32, 2, 16),
    "out": (2, 2, 16, 32),
    "mlp_in": (2, 32, 128),
    "modulation": (2, 32, 192),
  }
  for name, shape in shapes.items():
    assert fresh["blocks"]["text"][name]["kernel"].shape == shape
  assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, params)


def test_qk_norm_adds_its_scales_and_bounds_the_scores():
  model = mmdit.MMDiT(tiny.model_config(qk_norm=True))
  params = tiny.params(model)
  for stream in ("image", "text"):
    for name in ("q_norm", "k_norm"):
      assert params["blocks"][stream][name]["scale"].shape == (2, 16)
  image = params["blocks"]["image"]
  apply = tiny.jit(functools.partial(_apply, model))
  louder = params | {
    "blocks": params["blocks"]
    | {"image": image | {"q": jax.tree.map(lambda x: 100.0 * x, image["q"])}}
  }
  want, got = (apply(p, _inputs()) for p in (params, louder))
  np.testing.assert_allclose(got.velocity_BHWC, want.velocity_BHWC, atol=1e-3)


@pytest.fixture(scope="module")
def gradient(params):
  """Config changes -> (outputs, gradient) of one function of all outputs."""

  @functools.cache
  def compute(**changes):
    model = mmdit.MMDiT(tiny.model_config(**changes))

    def run(params):
      out = _apply(model, params, _inputs())
      return sum(_project(o) for o in out), out

    grads, out = tiny.jit(jax.grad(run, has_aux=True))(params)
    return out, grads

  return compute


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


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
def test_remat_policies_keep_what_they_say(params, scan):
  """Numbers that wait for the backward pass, policy by policy."""

  def kept(policy):
    config = tiny.model_config(remat=policy, scan_layers=scan)
    model = mmdit.MMDiT(config)

    def pullback(params):
      run = functools.partial(_apply, model, inputs=_inputs())
      return jax.vjp(lambda p: run(p), params)[1]

    shapes = jax.eval_shape(pullback, params)
    return sum(x.size for x in jax.tree.leaves(shapes))

  tokens = B * (TARGET_TOKENS * (1 + N) + tiny.TEXT_LENGTH)
  one = tokens * 32 * 2  # one [B, S, D] in each of the two layers
  full = kept("full")
  assert kept("attention") == full + one
  # What made the kept values is not needed again: their biases.
  bias = 32 * 2 * 2
  assert kept("attention_qkv") == full + 4 * one - 3 * bias
  assert kept("attention_qkv_mlp") == full + 8 * one - 7 * bias
  assert full < kept("dots") < kept("none")
  assert set(mmdit.REMAT_POLICIES) == {
    *("none", "full", "attention", "attention_qkv", "attention_qkv_mlp"),
    "dots",
  }


@pytest.mark.parametrize("scan", [True, False], ids=["scan", "loop"])
def test_alignment_heads_read_their_depth(params, scan):
  """A change in the last block shows at its depth and not before."""

  inputs = _inputs()
  last_changed = params | {
    "blocks": jax.tree.map(lambda p: p.at[1].multiply(2.0), params["blocks"])
  }
  for depth in (1, 2):
    config = tiny.model_config(align_depth=depth, scan_layers=scan)
    heads = ("image_mid", "text_mid")
    run = tiny.jit(functools.partial(_apply, mmdit.MMDiT(config), heads=heads))
    before, after = run(params, inputs), run(last_changed, inputs)
    for name in ("image_mid_BE", "text_mid_BE"):
      change = _size(getattr(before, name) - getattr(after, name))
      assert change == 0 if depth == 1 else change > 1e-3


def test_loop_form_shows_every_block(params):
  model = mmdit.MMDiT(tiny.model_config(scan_layers=False))
  run = functools.partial(_apply, model, mutable=["intermediates"])
  _, shown = jax.eval_shape(run, params, _inputs())
  blocks = shown["intermediates"]["blocks"]
  assert [b[0].shape for b in blocks] == [(B, (1 + N) * TARGET_TOKENS, 32)] * 2


def test_bf16_computes_in_bf16_from_fp32_parameters(params, apply, fresh):
  model = mmdit.MMDiT(tiny.model_config(dtype="bfloat16"))
  inputs = _inputs()
  init = jax.eval_shape(
    model.init,
    jax.random.key(0),
    *(inputs[n] for n in ("latents", "text", "t")),
  )["params"]
  assert jax.tree.map(jnp.result_type, init) == jax.tree.map(
    jnp.result_type, fresh
  )
  assert {x.dtype for x in jax.tree.leaves(init)} == {jnp.dtype("float32")}
  got = tiny.jit(functools.partial(_apply, model))(params, inputs)
  for a, b in zip(got, apply(params, inputs)):
    assert a.dtype == jnp.bfloat16
    error = _size(a.astype(jnp.float32) - b)
    assert 0 < error < 0.1 * _size(b)


@pytest.mark.parametrize("dtype, atol", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_attention_is_softmax_attention(dtype, atol):
  q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 7, 2, 4), jnp.float32)
  scores = np.einsum("bsnk,btnk->bnst", q, k) / 2.0
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  want = np.einsum("bnst,btnk->bsnk", weights, v)
  got = attention.attention(*(x.astype(dtype) for x in (q, k, v)))
  assert got.dtype == dtype
  np.testing.assert_allclose(got.astype(jnp.float32), want, atol=atol)


def test_unknown_attention_raises(params):
  config = dataclasses.replace(tiny.model_config(), attention="flash")
  with pytest.raises(ValueError, match=r"config.model.attention: got 'flash'"):
    _apply(mmdit.MMDiT(config), params, _inputs())
