"""The autoencoder on its own; equality with PyTorch is tests/parity's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax.models import vae

TINY = vae.VAEConfig(
  block_out_channels=(4, 8, 8),
  latent_channels=3,
  norm_num_groups=2,
  scaling_factor=1.7,
  shift_factor=0.2,
  use_quant_conv=False,
  use_post_quant_conv=False,
)
SD3 = {
  "_class_name": "AutoencoderKL",
  "act_fn": "silu",
  "block_out_channels": [128, 256, 512, 512],
  "down_block_types": ["DownEncoderBlock2D"] * 4,
  "up_block_types": ["UpDecoderBlock2D"] * 4,
  "latent_channels": 16,
  "latents_mean": None,
  "layers_per_block": 2,
  "norm_num_groups": 32,
  "sample_size": 1024,
  "scaling_factor": 1.5305,
  "shift_factor": 0.0609,
  "use_post_quant_conv": False,
  "use_quant_conv": False,
}


def _abstract(config: vae.VAEConfig):
  side = config.downsampling
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  init = vae.AutoencoderKL(config).init
  return jax.eval_shape(init, jax.random.key(0), image)["params"]


def test_shapes_and_positive_std():
  model = vae.AutoencoderKL(TINY)
  image = jax.random.uniform(jax.random.key(1), (2, 8, 12, 3)) * 2.0 - 1.0
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
    _abstract(TINY),
  )
  apply = jax.jit(model.apply, static_argnames="method")
  mean, std = apply({"params": params}, image, method="encode")
  assert mean.shape == std.shape == (2, 2, 3, 3)
  assert np.all(std > 0)
  decoded = apply({"params": params}, mean, method="decode")
  assert decoded.shape == image.shape


def test_sd3_has_the_published_number_of_parameters():
  config = vae.VAEConfig.from_hf(SD3)
  count = sum(leaf.size for leaf in jax.tree.leaves(_abstract(config)))
  assert count == 83_819_683  # as diffusers counts SD3-medium's vae
  assert config.downsampling == 8


def test_scaling_inverts_and_has_sd3_order():
  latents = jnp.asarray([0.2, 1.2, -0.8], jnp.float32)
  scaled = vae.scale_latents(latents, TINY)
  np.testing.assert_allclose(scaled, [0.0, 1.7, -1.7], atol=1e-6)
  back = vae.unscale_latents(scaled, TINY)
  np.testing.assert_allclose(back, latents, atol=1e-6)


def test_no_shift_in_an_older_config_means_zero():
  config = vae.VAEConfig.from_hf({**SD3, "shift_factor": None})
  assert config.shift_factor == 0.0


@pytest.mark.parametrize(
  "change, message",
  [
    ({"_class_name": "VQModel"}, "'VQModel', expected 'AutoencoderKL'"),
    ({"act_fn": "relu"}, "act_fn='relu', expected 'silu'"),
    ({"latents_mean": [0.1]}, "latents_mean"),
    (
      {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]},
      "down_block_types",
    ),
    ({"norm_num_groups": 24}, "not divisible by norm_num_groups 24"),
  ],
)
def test_other_autoencoders_are_refused(change: dict, message: str):
  with pytest.raises(ValueError, match=message):
    vae.VAEConfig.from_hf({**SD3, **change})


def test_an_image_that_does_not_divide_is_refused():
  model = vae.AutoencoderKL(TINY)
  image = jax.ShapeDtypeStruct((1, 10, 8, 3), jnp.float32)
  with pytest.raises(ValueError, match=r"\(10, 8\).*divisible by 4"):
    jax.eval_shape(model.init, jax.random.key(0), image)
