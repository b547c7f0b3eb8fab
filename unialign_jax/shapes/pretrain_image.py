"""Trains the small autoencoder of the Shapes world.

Absolute and squared error of the pixels plus a KL term. The KL weight is
large for an autoencoder of latent diffusion: latents near a unit Gaussian
with real posterior noise are what a small diffusion model learns easily. The
scaling written to config.json is measured, so that scaled latents have mean 0
and standard deviation 1.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from unialign_jax.models import vae
from unialign_jax.shapes import pretrain_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How the autoencoder is trained, and its shape."""

  block_out_channels: tuple[int, ...] = (16, 32, 64, 80)
  layers_per_block: int = 1
  latent_channels: int = 16
  norm_num_groups: int = 8
  batch_size: int = 8
  steps: int = 2800
  learning_rate: float = 2e-3
  kl_weight: float = 1e-3  # of the KL mean over latent elements, in nats

  def config(self) -> vae.VAEConfig:
    """SD3's autoencoder, smaller, without a scaling yet."""
    return vae.VAEConfig(
      block_out_channels=self.block_out_channels,
      layers_per_block=self.layers_per_block,
      latent_channels=self.latent_channels,
      norm_num_groups=self.norm_num_groups,
      scaling_factor=1.0,
      shift_factor=0.0,
      use_quant_conv=False,
      use_post_quant_conv=False,
    )


def to_pixels(images_BHWC: np.ndarray) -> jax.Array:
  """uint8 -> float32 in [-1, 1]."""
  return jnp.asarray(images_BHWC, jnp.float32) / 127.5 - 1.0


def psnr(got: np.ndarray, want: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio in dB of each uint8 picture, `[B]`."""
  error = got.astype(np.float32) - want.astype(np.float32)
  square = np.mean(np.square(error), axis=(1, 2, 3))
  return 10.0 * np.log10(255.0**2 / np.maximum(square, 1e-3))


def _loss(
  params: Any,
  model: vae.AutoencoderKL,
  images_BHWC: jax.Array,
  key: jax.Array,
  kl_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  pixels_BHWC = to_pixels(images_BHWC)
  apply = functools.partial(model.apply, {"params": params})
  mean_BHWC, std_BHWC = apply(pixels_BHWC, method="encode")
  eps_BHWC = jax.random.normal(key, mean_BHWC.shape)
  decoded = apply(mean_BHWC + std_BHWC * eps_BHWC, method="decode")
  error = decoded - pixels_BHWC
  square = jnp.mean(jnp.square(error))
  variance = jnp.square(std_BHWC)
  kl = 0.5 * jnp.mean(
    jnp.square(mean_BHWC) + variance - 1.0 - jnp.log(variance)
  )
  total = jnp.mean(jnp.abs(error)) + square + kl_weight * kl
  # 2 is the range of the pixels, so this is the batch's PSNR with noise.
  decibel = 10.0 * jnp.log10(4.0 / square)
  return total, {"loss": total, "psnr": decibel, "kl": kl}


def _initial_params(model: vae.AutoencoderKL, key: jax.Array) -> Any:
  """Parameters from which a few thousand steps are enough.

  Every residual branch starts at zero, so the network starts as a short chain
  of convolutions, and the posterior starts narrow, so the decoder sees the
  mean and not noise. The first is worth 4 dB after 200 steps.
  """
  side = model.config.downsampling
  image = jnp.zeros((1, side, side, model.config.in_channels), jnp.float32)
  params = jax.jit(model.init)(key, image)["params"]
  flat = flax.traverse_util.flatten_dict(params)
  for path, leaf in flat.items():
    if path[-2:] in (("conv2", "kernel"), ("out", "kernel")):
      flat[path] = jnp.zeros_like(leaf)
  bias = flat["encoder", "conv_out", "bias"]
  logvar = slice(model.config.latent_channels, None)
  flat["encoder", "conv_out", "bias"] = bias.at[logvar].set(-5.0)
  return flax.traverse_util.unflatten_dict(flat)


def _optimiser(schedule: optax.Schedule) -> optax.GradientTransformation:
  """Muon for kernels (as matrices of inputs x outputs), Adam for the rest.

  Here it bears learning rates from 1.5e-3 to 1e-2, where Adam alone works at
  2e-3 only. `consistent_rms` gives its updates the size that Adam's have, so
  one schedule serves both.
  """

  def matrices(params: Any) -> Any:
    def axes(leaf: jax.Array) -> contrib.MuonDimensionNumbers | None:
      if leaf.ndim == 1:
        return None
      inputs = tuple(range(leaf.ndim - 1))
      return contrib.MuonDimensionNumbers(inputs, leaf.ndim - 1)

    return jax.tree.map(axes, params)

  return contrib.muon(
    schedule,
    consistent_rms=0.2,
    adam_b2=0.99,
    muon_weight_dimension_numbers=matrices,
  )


def train(
  images_NHWC: np.ndarray,
  *,
  recipe: Recipe,
  seed: int,
  log: Callable[[str], None],
) -> tuple[vae.VAEConfig, Any]:
  """Trains on uint8 pictures; returns the scaled config and parameters.

  Args:
    images_NHWC: pictures of every kind the world makes.
    recipe: sizes and schedule.
    seed: of weights, batches and noise.
    log: receives a line of progress now and then.
  """
  model = vae.AutoencoderKL(recipe.config())
  key_init, key_noise = jax.random.split(jax.random.key(seed))
  params = _initial_params(model, key_init)
  optimiser = _optimiser(
    pretrain_text.schedule(recipe.learning_rate, recipe.steps)
  )
  opt_state = optimiser.init(params)
  loss = functools.partial(_loss, model=model, kl_weight=recipe.kl_weight)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params: Any, opt_state: Any, images: jax.Array, key: jax.Array):
    grads, metrics = jax.grad(loss, has_aux=True)(
      params, images_BHWC=images, key=key
    )
    updates, opt_state = optimiser.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, metrics

  rng = np.random.default_rng(seed)
  for i in range(recipe.steps):
    rows = rng.integers(len(images_NHWC), size=recipe.batch_size)
    params, opt_state, metrics = step(
      params, opt_state, images_NHWC[rows], jax.random.fold_in(key_noise, i)
    )
    if i % 100 == 0 or i == recipe.steps - 1:
      values = ", ".join(f"{k} {float(v):.3f}" for k, v in metrics.items())
      log(f"image {i}: {values}")
  return _measure_scaling(recipe.config(), params, images_NHWC[:512])


def _measure_scaling(
  config: vae.VAEConfig, params: Any, images_NHWC: np.ndarray
) -> tuple[vae.VAEConfig, Any]:
  """Sets shift and scale so that sampled latents get mean 0 and std 1."""
  model = vae.AutoencoderKL(config)
  encode = jax.jit(
    lambda p, x: model.apply({"params": p}, to_pixels(x), method="encode")
  )
  parts = [
    jax.device_get(encode(params, images_NHWC[i : i + 32]))
    for i in range(0, len(images_NHWC), 32)
  ]
  mean, std = (np.concatenate(x).astype(np.float64) for x in zip(*parts))
  shift = float(mean.mean())
  spread = float(np.sqrt(mean.var() + np.square(std).mean()))
  scaled = dataclasses.replace(
    config,
    shift_factor=round(shift, 6),
    scaling_factor=round(1.0 / spread, 6),
  )
  return scaled, jax.device_get(params)
