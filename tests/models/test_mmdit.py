"""The network: what flows where."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import network
from tests.training import tiny
from unialign_jax.models import mmdit
from unialign_jax.training import optimizer

FIELDS = mmdit.ModelOutput._fields
# No block changes its stream: what reaches a head comes from its own tokens.
NO_BLOCKS = "blocks/.*/modulation/.*"


@pytest.fixture(scope="module")
def influence(model):
  """params -> for each output, the gradient to every input."""

  @tiny.jit
  def gradients(params):
    def projections(inputs):
      return [network.project(o) for o in network.run(model, params, inputs)]

    return dict(zip(FIELDS, jax.jacrev(projections)(network.inputs())))

  return gradients


def test_shapes_of_all_outputs(apply, params):
  out = apply(params, network.inputs())
  L, D = tiny.TEXT_LENGTH, 32
  assert {name: x.shape for name, x in out._asdict().items()} == {
    "velocity_BHWC": (network.B, *tiny.LATENT_SHAPE),
    "logits_BLV": (network.B, L, 20),
    "image_out_BTD": (network.B, network.TARGET_TOKENS, D),
    "text_out_BLD": (network.B, L, D),
    "image_mid_BE": (network.B, 16),
    "text_mid_BE": (network.B, 16),
    "image_mid_BTE": (network.B, network.TARGET_TOKENS, 16),
  }


def test_every_input_reaches_every_output(influence, params):
  for name, gradients in influence(params).items():
    for source, gradient in gradients.items():
      assert network.size(gradient) > 1e-4, (name, source)


def test_only_the_targets_tokens_reach_the_image_heads(influence, params):
  """With blocks that do nothing, conditions have no way to a head at all."""
  mask = optimizer.trainable_mask(params, (NO_BLOCKS,))
  closed = jax.tree.map(lambda p, m: p * (0.0 if m else 1.0), params, mask)
  for name, gradients in influence(closed).items():
    is_image = name.startswith(("velocity", "image"))
    assert network.size(gradients["cond"]) == 0, name
    assert (network.size(gradients["latents"]) > 1e-4) == is_image, name
    assert (network.size(gradients["text"]) > 1e-4) != is_image, name


def test_examples_do_not_see_each_other(apply, params):
  inputs = network.inputs()
  other = jax.tree.map(lambda x: x.at[1].set(0.5), inputs)
  for a, b in zip(apply(params, inputs), apply(params, other)):
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    assert network.size(a[1] - b[1]) > 1e-3


def test_conditions_share_the_targets_positions(apply, params):
  """So their order says nothing, unlike which picture is the target."""
  inputs = network.inputs()
  swapped = inputs | {"cond": inputs["cond"][:, ::-1]}
  for a, b in zip(apply(params, inputs), apply(params, swapped)):
    np.testing.assert_allclose(a, b, atol=1e-5)
  exchanged = inputs | {
    "latents": inputs["cond"][:, 0],
    "cond": inputs["cond"].at[:, 0].set(inputs["latents"]),
  }
  changed = apply(params, exchanged).velocity_BHWC
  assert network.size(changed - apply(params, inputs).velocity_BHWC) > 1e-2


def test_positions_tell_target_tokens_apart(apply, params):
  """A picture of equal patches gets a velocity that differs by patch."""
  inputs = network.inputs()
  patch = inputs["latents"][:, :2, :2]
  equal = inputs | {"latents": jnp.tile(patch, (1, 2, 2, 1))}
  velocity = apply(params, equal).velocity_BHWC
  assert network.size(velocity[:, :2, :2] - velocity[:, 2:, 2:]) > 1e-2


def test_time_is_fed_in_thousandths(apply, params):
  """Near times are told apart, as `1000 t` makes the fastest angle radians."""
  inputs = network.inputs()
  near = inputs | {"t": inputs["t"] + 1e-3}
  change = (
    apply(params, near).image_out_BTD - apply(params, inputs).image_out_BTD
  )
  assert network.size(change) > 1e-2


def test_one_time_stands_for_the_batch(model, apply, params):
  """As samplers give it; its modulation is computed once."""
  inputs = network.inputs()
  one = inputs | {"t": inputs["t"][:1]}
  same = inputs | {"t": jnp.broadcast_to(one["t"], inputs["t"].shape)}
  for got, want in zip(apply(params, one), apply(params, same)):
    np.testing.assert_allclose(got, want, atol=1e-5)

  @tiny.jit
  @jax.grad
  def influence(t, inputs):
    out = network.run(model, params, inputs | {"t": t}, heads=("velocity",))
    return jnp.sum(jnp.square(out.velocity_BHWC))

  (got,) = influence(one["t"], inputs)
  want = influence(same["t"], inputs).sum()
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_heads_not_asked_for_are_none_and_the_others_unchanged(
  model, params, apply
):
  inputs = network.inputs()
  names = ("velocity", "text_out", "image_mid")
  some = tiny.jit(functools.partial(network.run, model, heads=names))(
    params, inputs
  )
  for name, got, want in zip(mmdit.HEADS, some, apply(params, inputs)):
    if name in names:
      np.testing.assert_allclose(got, want, atol=1e-5)
    else:
      assert got is None


def test_heads_not_asked_for_are_not_computed(model, params):
  def ops(*names):
    jaxpr = jax.make_jaxpr(functools.partial(network.run, model, heads=names))
    return str(jaxpr(params, network.inputs())).count("dot_general")

  assert ops("velocity", "logits") == ops() + 3  # modulation, 2 projections
  assert ops("image_mid") == ops() + 2
  assert ops("text_out") == ops()


def test_unknown_head_raises(model, params):
  with pytest.raises(ValueError, match=r"veloctiy.*velocity"):
    network.run(model, params, network.inputs(), heads=("veloctiy",))


def test_null_image_stands_in_for_a_missing_one(model, params):
  inputs = network.inputs() | {"latents": None, "cond": None}

  def run(params):
    out = network.run(model, params, inputs)
    return network.project(out.logits_BLV), out

  gradient, out = tiny.jit(jax.grad(run, has_aux=True))(params)
  assert out.velocity_BHWC is None
  assert out.image_out_BTD.shape == (
    network.B,
    model.config.null_image_tokens,
    32,
  )
  assert network.size(gradient["null_image_embed"]) > 1e-4
  assert network.size(gradient["patch_embed"]["kernel"]) == 0


def test_null_image_plays_no_part_where_there_is_one(apply, params):
  changed = params | {"null_image_embed": params["null_image_embed"] + 1.0}
  for a, b in zip(
    apply(params, network.inputs()), apply(changed, network.inputs())
  ):
    np.testing.assert_array_equal(a, b)


def test_init_without_latents_raises(model):
  inputs = network.inputs()
  with pytest.raises(ValueError, match="init needs latents"):
    jax.eval_shape(
      model.init, jax.random.key(0), None, inputs["text"], inputs["t"]
    )


@pytest.mark.parametrize("shape", [(3, 4, 8), (4, 3, 8), (4, 4, 7)])
def test_latents_that_do_not_fit_raise(model, params, shape):
  inputs = network.inputs()
  latents = jnp.zeros((network.B, *shape), jnp.float32)
  with pytest.raises(
    ValueError, match=r"latents: got.*config.model.patch_size"
  ):
    network.run(model, params, inputs | {"latents": latents, "cond": None})


def test_picture_beyond_the_position_table_raises(model, params):
  inputs = network.inputs() | {"cond": None}
  latents = jnp.zeros((network.B, 4, 10, 8), jnp.float32)
  with pytest.raises(ValueError, match=r"config.model.pos_embed_size"):
    network.run(model, params, inputs | {"latents": latents})


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
  inputs = network.inputs()
  out = apply(fresh, inputs)
  assert network.size(out.velocity_BHWC) == 0
  assert network.size(out.logits_BLV) > 1e-2
  other = apply(fresh, inputs | {"cond": inputs["cond"] + 1.0})
  np.testing.assert_array_equal(out.image_out_BTD, other.image_out_BTD)


def test_every_layer_of_a_fresh_model_has_its_own_numbers(fresh):
  kernel = fresh["blocks"]["image"]["mlp_in"]["kernel"]
  assert network.size(kernel[0] - kernel[1]) > 1e-2


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
  apply = tiny.jit(functools.partial(network.run, model))
  louder = params | {
    "blocks": params["blocks"]
    | {"image": image | {"q": jax.tree.map(lambda x: 100.0 * x, image["q"])}}
  }
  want, got = (apply(p, network.inputs()) for p in (params, louder))
  np.testing.assert_allclose(got.velocity_BHWC, want.velocity_BHWC, atol=1e-3)
