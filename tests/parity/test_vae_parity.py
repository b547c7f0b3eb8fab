"""`models/vae.py` gives the numbers of `diffusers.AutoencoderKL`."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import close
from unialign_jax.convert import mapping
from unialign_jax.convert import vae_table
from unialign_jax.models import vae

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


def _torch_vae(**overrides) -> "diffusers.AutoencoderKL":
  """SD3's form (16 channels, no quant convs), shrunk, with random weights."""
  torch.manual_seed(0)
  config = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 16, 16, 24),
    "layers_per_block": 2,
    "latent_channels": 16,
    "norm_num_groups": 4,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
  }
  model = diffusers.AutoencoderKL(**{**config, **overrides}).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(0.1 * torch.randn_like(parameter))
  return model


def _state(model: "torch.nn.Module") -> dict[str, np.ndarray]:
  return {k: v.numpy() for k, v in model.state_dict().items()}


def _flax_vae(model):
  config = vae.VAEConfig.from_hf(json.loads(model.to_json_string()))
  ours = vae.AutoencoderKL(config)
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  abstract = jax.eval_shape(ours.init, jax.random.key(0), image)["params"]
  return ours, mapping.to_flax(vae_table.rules(), _state(model), abstract)


VARIANTS = {
  "sd3": {},
  "quant_convs": {"use_quant_conv": True, "use_post_quant_conv": True},
  "no_attention": {"mid_block_add_attention": False, "layers_per_block": 1},
}


@pytest.fixture(params=VARIANTS, scope="module")
def models(request):
  model = _torch_vae(**VARIANTS[request.param])
  return model, *_flax_vae(model)


def test_encode_moments_equal(models):
  model, ours, params = models
  rng = np.random.default_rng(0)
  image = rng.uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)
  with torch.no_grad():
    posterior = model.encode(
      torch.tensor(image.transpose(0, 3, 1, 2))
    ).latent_dist
  encode = jax.jit(functools.partial(ours.apply, method="encode"))
  mean, std = encode({"params": params}, image)
  close.assert_close(mean, posterior.mean.numpy().transpose(0, 2, 3, 1))
  close.assert_close(std, posterior.std.numpy().transpose(0, 2, 3, 1))


def test_decode_equal(models):
  model, ours, params = models
  rng = np.random.default_rng(1)
  latents = rng.normal(size=(2, 4, 6, 16)).astype(np.float32)
  with torch.no_grad():
    want = model.decode(torch.tensor(latents.transpose(0, 3, 1, 2))).sample
  decode = jax.jit(functools.partial(ours.apply, method="decode"))
  got = decode({"params": params}, latents)
  close.assert_close(got, want.numpy().transpose(0, 2, 3, 1))


def test_weights_return_unchanged(models):
  model, _, params = models
  back = mapping.to_torch(vae_table.rules(), params)
  want = _state(model)
  assert sorted(back) == sorted(want)
  for name, tensor in want.items():
    np.testing.assert_array_equal(back[name], tensor)


def test_config_keeps_the_scaling_of_the_folder(models):
  _, ours, _ = models
  latents = jnp.ones((1, 2, 2, 16), jnp.float32)
  want = (latents - 0.0609) * 1.5305
  scaled = vae.scale_latents(latents, ours.config)
  close.assert_close(scaled, want, relative=1e-6)
  close.assert_close(
    vae.unscale_latents(scaled, ours.config), latents, relative=1e-6
  )
  assert ours.config.downsampling == 8
