"""Dual attention gives the numbers of diffusers' SD3.5, and its weights fit.

Against `TorchMMDiT` for everything that UniAlignment adds, and against
diffusers' own SD3Transformer2DModel for the velocity.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import close
from tests.parity import test_mmdit_parity as mmdit_parity
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.models import layers
from unialign_jax.models import mmdit

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
torch_mmdit = pytest.importorskip("tests.parity.torch_mmdit")

TINY = dataclasses.replace(
  mmdit_parity.TINY, qk_norm=True, dual_attention_depth=2
)
# transformer/config.json of stable-diffusion-3.5-medium.
SD35_MEDIUM = {
  "sample_size": 128,
  "num_layers": 24,
  "attention_head_dim": 64,
  "num_attention_heads": 24,
  "caption_projection_dim": 1536,
  "pooled_projection_dim": 2048,
  "pos_embed_max_size": 384,
  "dual_attention_layers": tuple(range(13)),
  "qk_norm": "rms_norm",
}
POOLED_DIM = 6


def _tiny_sd35() -> "diffusers.SD3Transformer2DModel":
  """diffusers' network with random weights, biases and norm scales too."""
  torch.manual_seed(1)
  network = diffusers.SD3Transformer2DModel(
    sample_size=TINY.pos_embed_base * TINY.patch_size,
    patch_size=TINY.patch_size,
    in_channels=TINY.in_channels,
    out_channels=TINY.in_channels,
    num_layers=TINY.depth,
    attention_head_dim=TINY.width // TINY.num_heads,
    num_attention_heads=TINY.num_heads,
    joint_attention_dim=TINY.text_dim,
    caption_projection_dim=TINY.width,
    pooled_projection_dim=POOLED_DIM,
    pos_embed_max_size=TINY.pos_embed_size,
    dual_attention_layers=(0, 1),
    qk_norm="rms_norm",
  ).eval()
  with torch.no_grad():
    for parameter in network.parameters():
      parameter.add_(0.1 * torch.randn_like(parameter))
  return network


def _without_pooled(network, pooled: "torch.Tensor") -> dict[str, np.ndarray]:
  """SD3.5's tensors under our names; what it lacks is left out.

  The embedding of one pooled text is a constant that the bias of the timestep
  embedding takes. The last block of SD3.5 ends its text: its modulation has
  scale and shift alone, in this order, and ours shift, scale and gates.
  """
  with torch.no_grad():
    constant = network.time_text_embed.text_embedder(pooled)[0].numpy()
  state = {
    re.sub("^(norm|proj)_out", r"image_\1_out", name): tensor.numpy()
    for name, tensor in network.state_dict().items()
    if not name.startswith("time_text_embed.text_embedder")
  }
  bias = "time_text_embed.timestep_embedder.linear_2.bias"
  state[bias] = state[bias] + constant
  for end in ("weight", "bias"):
    name = f"transformer_blocks.{TINY.depth - 1}.norm1_context.linear.{end}"
    scale, shift = np.split(state[name], 2)
    gates = np.zeros((4 * TINY.width, *shift.shape[1:]), np.float32)
    state[name] = np.concatenate([shift, scale, gates])
  return state


def test_velocity_equals_sd35_of_diffusers():
  network = _tiny_sd35()
  pooled = torch.randn(1, POOLED_DIM)
  state = _without_pooled(network, pooled)
  filler = {
    name: tensor.numpy()
    for name, tensor in torch_mmdit.TorchMMDiT(TINY).state_dict().items()
  }
  model = mmdit.MMDiT(TINY)
  latents, text, t, _ = mmdit_parity._inputs(TINY)
  abstract = jax.eval_shape(model.init, jax.random.key(0), latents, text, t)
  params = mapping.to_flax(
    mmdit_table.rules(TINY), filler | state, abstract["params"]
  )
  with torch.no_grad():
    want = network(
      hidden_states=torch.tensor(np.moveaxis(latents, -1, 1).copy()),
      encoder_hidden_states=torch.tensor(text),
      pooled_projections=pooled.expand(len(text), -1),
      timestep=torch.tensor(t) * 1000,
      return_dict=False,
    )[0]
  got = jax.jit(model.apply)({"params": params}, latents, text, t)
  close.assert_close(got.velocity_BHWC, np.moveaxis(want.numpy(), 1, -1))


@pytest.fixture(scope="module", params=[True, False], ids=["qk_norm", "plain"])
def pair(request):
  return mmdit_parity._pair(dataclasses.replace(TINY, qk_norm=request.param))


@pytest.mark.parametrize("case", mmdit_parity.CASES)
def test_whole_network_equal(pair, case: str):
  mmdit_parity.test_whole_network_equal(pair, case)


def test_weights_return_unchanged(pair):
  mmdit_parity.test_weights_return_unchanged(pair)


def test_our_weights_return_unchanged(pair):
  """Import of an export, leaf by leaf and bit for bit, through new numbers."""
  _, model, params = pair
  rng = np.random.default_rng(4)
  ours = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(x.dtype), params
  )
  rules = mmdit_table.rules(model.config)
  state = mapping.to_torch(rules, ours)
  dual = [name for name in state if ".attn2." in name]
  assert {name.split(".")[1] for name in dual} == {"0", "1"}
  jax.tree.map(
    np.testing.assert_array_equal, mapping.to_flax(rules, state, params), ours
  )


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_blocks_of_both_stacks_equal(pair, layer: int):
  network, model, params = pair
  cfg = model.config
  dual = layer < cfg.dual_attention_depth
  rng = np.random.default_rng(1)
  image, text, time = (
    rng.normal(size=shape).astype(np.float32)
    for shape in ((2, 7, cfg.width), (2, 5, cfg.width), (2, cfg.width))
  )
  with torch.no_grad():
    want_text, want_image = network.transformer_blocks[layer](
      torch.tensor(image), torch.tensor(text), torch.tensor(time)
    )
  block = layers.JointBlock(
    cfg.width,
    cfg.num_heads,
    cfg.mlp_ratio,
    cfg.qk_norm,
    "xla",
    jnp.float32,
    dual,
  )
  stack, index = ("dual_blocks", layer) if dual else ("blocks", layer - 2)
  own = jax.tree.map(lambda x: x[index], params[stack])
  got_image, got_text = block.apply({"params": own}, image, text, time)
  close.assert_close(got_image, want_image.numpy())
  close.assert_close(got_text, want_text.numpy())


def test_another_number_of_dual_blocks_is_refused(pair):
  _, model, params = pair
  config = model.config
  state = mapping.to_torch(mmdit_table.rules(config), params)
  other = dataclasses.replace(config, dual_attention_depth=1)
  inputs = mmdit_parity._inputs(config)[:3]
  init = mmdit.MMDiT(other).init
  abstract = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
  with pytest.raises(ValueError) as caught:
    mapping.to_flax(mmdit_table.rules(other), state, abstract)
  assert "unexpected: transformer_blocks.1.attn2.to_q.weight" in str(
    caught.value
  )
  assert "wrong shape: transformer_blocks.1.norm1.linear.weight" in str(
    caught.value
  )


def test_sd35_medium_has_the_parameters_of_pytorch():
  config = mmdit.MMDiTConfig(
    qk_norm=True, dual_attention_depth=13, pos_embed_size=384
  )
  with torch.device("meta"):
    network = torch_mmdit.TorchMMDiT(config)
    published = diffusers.SD3Transformer2DModel(**SD35_MEDIUM)
  model = mmdit.MMDiT(config)
  abstract = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, 4, 4, 16), jnp.float32),
    jax.ShapeDtypeStruct((1, 4, 4096), jnp.float32),
    jax.ShapeDtypeStruct((1,), jnp.float32),
  )["params"]
  total = sum(leaf.size for leaf in jax.tree.leaves(abstract))
  assert total == sum(p.numel() for p in network.parameters())

  # The stand-in has SD3.5's tensors: only what SD3 and UniAlignment do
  # otherwise (text of the last block, heads, pooled text) is not the same.
  ours, theirs = (
    {name: tuple(x.shape) for name, x in m.state_dict().items()}
    for m in (network, published)
  )
  apart = {k for k in ours | theirs if ours.get(k) != theirs.get(k)}
  last = r"transformer_blocks\.23\.(norm1_context|ff_context|attn\.to_add_out)"
  heads = "norm_out|proj_out|image_|text_proj_out|siglip_|null_image_embd"
  pooled = r"time_text_embed\.text_embedder"
  expected = re.compile(f"({last}|{heads}|{pooled})")
  assert apart and all(expected.match(name) for name in apart)
