"""`models/mmdit.py` and its parts give the numbers of diffusers' SD3."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import close
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.models import heads
from unialign_jax.models import layers
from unialign_jax.models import mmdit
from unialign_jax.models import positions

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
torch_mmdit = pytest.importorskip("tests.parity.torch_mmdit")

TINY = mmdit.MMDiTConfig(
  in_channels=4,
  width=32,
  depth=3,
  num_heads=4,
  text_dim=12,
  vocab_size=20,
  pos_embed_size=12,
  pos_embed_base=4,
  null_image_tokens=8,
  align_depth=2,
  align_hidden=24,
  semantic_dim=10,
)
B, H, W, L, N = 2, 6, 8, 5, 3


def _numpy(tensor: "torch.Tensor") -> np.ndarray:
  return tensor.detach().numpy()


def _state(module: "torch.nn.Module") -> dict[str, np.ndarray]:
  return {k: _numpy(v) for k, v in module.state_dict().items()}


def _pair(config: mmdit.MMDiTConfig):
  """A random PyTorch network, and its weights in our parameter tree."""
  torch.manual_seed(0)
  network = torch_mmdit.TorchMMDiT(config).eval()
  with torch.no_grad():
    for parameter in network.parameters():
      parameter.add_(0.1 * torch.randn_like(parameter))
  model = mmdit.MMDiT(config)
  abstract = jax.eval_shape(
    model.init, jax.random.key(0), *_inputs(config)[:3]
  )["params"]
  rules = mmdit_table.rules(config)
  return network, model, mapping.to_flax(rules, _state(network), abstract)


@pytest.fixture(params=[False, True], ids=["plain", "qk_norm"], scope="module")
def pair(request):
  return _pair(dataclasses.replace(TINY, qk_norm=request.param))


def _inputs(config: mmdit.MMDiTConfig):
  rng = np.random.default_rng(0)

  def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)

  latents = normal(B, H, W, config.in_channels)
  text = normal(B, L, config.text_dim)
  t = np.array([0.0, 0.731], np.float32)
  return latents, text, t, normal(B, N, H, W, config.in_channels)


def _channels_first(x: np.ndarray) -> "torch.Tensor":
  return torch.tensor(np.moveaxis(x, -1, -3).copy())


CASES = {
  "image": (True, False),
  "conditions": (True, True),
  "null": (False, False),
}


@pytest.mark.parametrize("case", CASES)
def test_whole_network_equal(pair, case: str):
  network, model, params = pair
  latents, text, t, cond = _inputs(model.config)
  with_latents, with_cond = CASES[case]
  with torch.no_grad():
    want = network(
      _channels_first(latents) if with_latents else None,
      torch.tensor(text),
      torch.tensor(t),
      _channels_first(cond) if with_cond else None,
    )
  got = jax.jit(model.apply)(
    {"params": params},
    latents if with_latents else None,
    text,
    t,
    cond if with_cond else None,
  )
  for name, ours, theirs in zip(got._fields, got, want):
    if theirs is None:
      assert ours is None, name
      continue
    theirs = _numpy(theirs)
    if name == "velocity_BHWC":
      theirs = np.moveaxis(theirs, 1, -1)
    close.assert_close(ours, theirs)


def test_weights_return_unchanged(pair):
  network, model, params = pair
  back = mapping.to_torch(mmdit_table.rules(model.config), params)
  back |= mmdit_table.buffers(model.config)
  want = _state(network)
  assert sorted(back) == sorted(want)
  np.testing.assert_allclose(
    back.pop(mmdit_table.POSITIONS), want[mmdit_table.POSITIONS], atol=1e-6
  )
  for name, tensor in back.items():
    np.testing.assert_array_equal(tensor, want[name])


def test_another_position_table_is_refused(pair):
  _, model, params = pair
  other = dataclasses.replace(model.config, pos_embed_base=8)
  state = mapping.to_torch(mmdit_table.rules(model.config), params)
  state |= mmdit_table.buffers(other)
  with pytest.raises(ValueError, match=r"pos_embed.*pos_embed_base"):
    mapping.to_flax(mmdit_table.rules(model.config), state, params)


def test_joint_block_equal(pair):
  network, model, params = pair
  cfg = model.config
  rng = np.random.default_rng(1)
  image, text, time = (
    rng.normal(size=shape).astype(np.float32)
    for shape in ((B, 7, cfg.width), (B, L, cfg.width), (B, cfg.width))
  )
  with torch.no_grad():
    want_text, want_image = network.transformer_blocks[1](
      torch.tensor(image), torch.tensor(text), torch.tensor(time)
    )
  block = layers.JointBlock(
    cfg.width, cfg.num_heads, cfg.mlp_ratio, cfg.qk_norm, "xla", jnp.float32
  )
  second = jax.tree.map(lambda x: x[1], params["blocks"])
  got_image, got_text = block.apply({"params": second}, image, text, time)
  close.assert_close(got_image, _numpy(want_image))
  close.assert_close(got_text, _numpy(want_text))


def test_timestep_embedding_equal(pair):
  network, model, params = pair
  t = np.array([0.0, 1e-3, 0.25, 0.7311, 1.0], np.float32)
  with torch.no_grad():
    want = network.time_text_embed(torch.tensor(t) * 1000)
  embed = layers.TimeEmbed(model.config.width, jnp.float32)
  got = embed.apply({"params": params["time_embed"]}, t)
  close.assert_close(got, _numpy(want))


def test_patches_and_cropped_positions_equal(pair):
  network, model, params = pair
  latents = _inputs(model.config)[0]
  with torch.no_grad():
    want = network.pos_embed(_channels_first(latents))
  cfg = model.config
  table = positions.cropped_positions(
    cfg.width, cfg.pos_embed_size, cfg.pos_embed_base, H // 2, W // 2
  )
  patches = positions.patchify(jnp.asarray(latents), cfg.patch_size)
  projection = params["patch_embed"]
  got = patches @ projection["kernel"] + projection["bias"][None, None]
  close.assert_close(got + table[None], _numpy(want))


def test_output_norms_equal(pair):
  network, model, params = pair
  cfg = model.config
  rng = np.random.default_rng(2)
  image, text = rng.normal(size=(2, B, L, cfg.width)).astype(np.float32)
  time = rng.normal(size=(B, cfg.width)).astype(np.float32)
  with torch.no_grad():
    want_image = network.image_norm_out(torch.tensor(image), torch.tensor(time))
    want_text = network.text_norm_out(torch.tensor(text))
  image_head = heads.ImageHead(
    cfg.width, cfg.patch_size**2 * cfg.in_channels, jnp.float32
  )
  got = image_head.apply(
    {"params": params["image_head"]}, image, time, method="norm"
  )
  close.assert_close(got, _numpy(want_image))
  text_head = heads.TextHead(cfg.vocab_size, jnp.float32)
  got = text_head.apply({"params": params["text_head"]}, text, method="norm")
  close.assert_close(got, _numpy(want_text))


@pytest.mark.parametrize("qk_norm", [False, True])
def test_sd3_medium_has_the_parameters_of_pytorch(qk_norm: bool):
  config = mmdit.MMDiTConfig(qk_norm=qk_norm)
  with torch.device("meta"):
    network = torch_mmdit.TorchMMDiT(config)
  want = sum(p.numel() for p in network.parameters())
  model = mmdit.MMDiT(config)
  abstract = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, 4, 4, 16), jnp.float32),
    jax.ShapeDtypeStruct((1, 4, 4096), jnp.float32),
    jax.ShapeDtypeStruct((1,), jnp.float32),
  )["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == want
