"""The frozen image autoencoder, in Flax: pixels to latents and back.

The KL autoencoder of latent diffusion (arXiv 2112.10752) in the form that
diffusers calls `AutoencoderKL` and SD3 uses with 16 latent channels and
without the 1x1 "quant" convolutions. Numbers equal diffusers' (tests/parity).

Everything here works on unscaled latents z; the diffusion model sees
`(z - shift_factor) * scaling_factor` (`scale_latents`, `unscale_latents`).

Dimension key: B batch, H W height and width (of whatever map is at hand),
C channels, S = H * W positions in the mid-block attention.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# diffusers clips log-variances here, so posteriors agree with its own.
_LOGVAR_RANGE = (-30.0, 20.0)
_NORM_EPS = 1e-6
_FIXED = {  # what the code below builds; config.json may not ask for other
  "act_fn": "silu",
  "down_block_types": "DownEncoderBlock2D",
  "up_block_types": "UpDecoderBlock2D",
  "latents_mean": None,
  "latents_std": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig:
  """Shape of an autoencoder; names and defaults as in diffusers."""

  in_channels: int = 3
  out_channels: int = 3
  block_out_channels: tuple[int, ...] = (64,)  # one a level, each halves H, W
  layers_per_block: int = 1
  latent_channels: int = 4
  norm_num_groups: int = 32
  scaling_factor: float = 0.18215
  shift_factor: float = 0.0
  use_quant_conv: bool = True
  use_post_quant_conv: bool = True
  mid_block_add_attention: bool = True
  dtype: Any = jnp.float32  # of the activations and the result
  param_dtype: Any = jnp.float32

  def __post_init__(self) -> None:
    for channels in self.block_out_channels:
      if channels % self.norm_num_groups:
        raise ValueError(
          f"VAE block_out_channels {self.block_out_channels}: {channels} is "
          f"not divisible by norm_num_groups {self.norm_num_groups}; check "
          "config.json of the VAE."
        )

  @property
  def downsampling(self) -> int:
    """Pixels per latent, along each side."""
    return 2 ** (len(self.block_out_channels) - 1)

  @classmethod
  def from_hf(
    cls,
    config: Mapping[str, Any],
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
  ) -> "VAEConfig":
    """Reads the parsed config.json of a diffusers AutoencoderKL folder.

    Raises:
      ValueError: another class, or an option that no SD3-like VAE uses.
    """
    if config.get("_class_name") != "AutoencoderKL":
      raise ValueError(
        f"The VAE's config.json has _class_name {config.get('_class_name')!r}, "
        "expected 'AutoencoderKL'; point the image encoder at such a folder."
      )
    for key, want in _FIXED.items():
      got = config.get(key, want)
      if set(got if isinstance(got, list) else [got]) != {want}:
        raise ValueError(
          f"The VAE's config.json has {key}={got!r}, expected {want!r}; this "
          "kind of autoencoder is not supported, use an SD3-like one."
        )
    names = {f.name for f in dataclasses.fields(cls)} - {"dtype", "param_dtype"}
    sizes = {k: config[k] for k in names & set(config)}
    sizes["shift_factor"] = sizes.get("shift_factor") or 0.0
    if "block_out_channels" in sizes:
      sizes["block_out_channels"] = tuple(sizes["block_out_channels"])
    return cls(**sizes, dtype=dtype, param_dtype=param_dtype)


def scale_latents(latents: jax.Array, config: VAEConfig) -> jax.Array:
  """Latents of the autoencoder -> latents of the diffusion model."""
  return (latents - config.shift_factor) * config.scaling_factor


def unscale_latents(latents: jax.Array, config: VAEConfig) -> jax.Array:
  """Latents of the diffusion model -> latents of the autoencoder."""
  return latents / config.scaling_factor + config.shift_factor


def _conv(cfg: VAEConfig, channels: int, size: int = 3, **kwargs: Any) -> Any:
  """A convolution that keeps the map's size unless `kwargs` say otherwise."""
  return nn.Conv(
    channels,
    (size, size),
    dtype=cfg.dtype,
    param_dtype=cfg.param_dtype,
    **kwargs,
  )


class GroupNorm(nn.Module):
  """Group normalisation; statistics in float32, rounded once.

  Each channel is averaged over the map before the channels of a group are:
  XLA's CPU backend takes about twice to five times as long over both at once.
  """

  config: VAEConfig

  @nn.compact
  def __call__(self, x_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    shape = x_BHWC.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, shape, cfg.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, shape, cfg.param_dtype)
    centred = x_BHWC.astype(jnp.float32)
    centred -= _means(centred, cfg.norm_num_groups)
    # The textbook variance: E[x^2] - E[x]^2 loses digits that parity needs.
    variance = _means(centred * centred, cfg.norm_num_groups)
    normed = centred * jax.lax.rsqrt(variance + _NORM_EPS)
    scale, bias = (
      p.astype(jnp.float32)[None, None, None] for p in (scale, bias)
    )
    return (normed * scale + bias).astype(cfg.dtype)


def _means(x_BHWC: jax.Array, num_groups: int) -> jax.Array:
  """[B, 1, 1, C]: of each channel's group, over the map."""
  B, _, _, C = x_BHWC.shape
  x_BGC = x_BHWC.mean((1, 2)).reshape(B, num_groups, C // num_groups)
  x_BGC = jnp.broadcast_to(x_BGC.mean(-1, keepdims=True), x_BGC.shape)
  return x_BGC.reshape(B, 1, 1, C)


class ResnetBlock(nn.Module):
  """norm, SiLU, conv, twice, around a skip (1x1 conv if channels change)."""

  config: VAEConfig
  channels: int

  @nn.compact
  def __call__(self, x_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    h_BHWC = nn.silu(GroupNorm(cfg, name="norm1")(x_BHWC))
    h_BHWC = _conv(cfg, self.channels, name="conv1")(h_BHWC)
    h_BHWC = nn.silu(GroupNorm(cfg, name="norm2")(h_BHWC))
    h_BHWC = _conv(cfg, self.channels, name="conv2")(h_BHWC)
    if x_BHWC.shape[-1] != self.channels:
      x_BHWC = _conv(cfg, self.channels, 1, name="conv_shortcut")(x_BHWC)
    return x_BHWC + h_BHWC


class Attention(nn.Module):
  """Single-head attention over all positions, with a residual."""

  config: VAEConfig

  @nn.compact
  def __call__(self, x_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    B, H, W, C = x_BHWC.shape
    normed_BSC = GroupNorm(cfg, name="norm")(x_BHWC).reshape(B, H * W, C)

    def dense(name: str) -> nn.Dense:
      return nn.Dense(
        C, dtype=cfg.dtype, param_dtype=cfg.param_dtype, name=name
      )

    q_BSC, k_BSC, v_BSC = (dense(name)(normed_BSC) for name in ("q", "k", "v"))
    scores_BSS = jnp.einsum(
      "BQC,BSC->BQS", q_BSC, k_BSC, preferred_element_type=jnp.float32
    )
    weights_BSS = nn.softmax(scores_BSS * C**-0.5, axis=-1).astype(cfg.dtype)
    mixed_BSC = dense("out")(jnp.einsum("BQS,BSC->BQC", weights_BSS, v_BSC))
    return x_BHWC + mixed_BSC.reshape(B, H, W, C)


# [side of the pixel, tap, row of the kernel]: of a pixel made two, the upper
# sees its upper neighbour by the first row and itself by the other two.
_TAPS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))


class Upsample(nn.Module):
  """Each pixel twice along both sides, then a 3x3 convolution.

  Each of the four that a pixel becomes reads 2 x 2 pixels of the small map, so
  one 2x2 convolution of that makes all four: 4/9 of the products.
  """

  config: VAEConfig

  @nn.compact
  def __call__(self, x_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    B, H, W, C = x_BHWC.shape
    init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
    kernel = self.param("kernel", init, (3, 3, C, C), cfg.param_dtype)
    bias = self.param("bias", zeros, (C,), cfg.param_dtype)
    taps = jnp.asarray(_TAPS, jnp.float32)
    kernel = jnp.einsum(
      "yui,xvj,ijCD->uvCyxD", taps, taps, kernel.astype(jnp.float32)
    )
    four_BHWD = jax.lax.conv_general_dilated(
      x_BHWC.astype(cfg.dtype),
      kernel.astype(cfg.dtype).reshape(2, 2, C, 4 * C),
      window_strides=(1, 1),
      padding=((1, 1), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    four = four_BHWD.reshape(B, H + 1, W + 1, 2, 2, C)
    rows = [
      jnp.stack([four[:, y : y + H, x : x + W, y, x] for x in (0, 1)], axis=3)
      for y in (0, 1)
    ]
    up_BHWC = jnp.stack(rows, axis=2).reshape(B, 2 * H, 2 * W, C)
    return up_BHWC + bias.astype(cfg.dtype)[None, None, None]


class MidBlock(nn.Module):
  """resnet, attention, resnet at the lowest resolution."""

  config: VAEConfig

  @nn.compact
  def __call__(self, x_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    x_BHWC = ResnetBlock(cfg, x_BHWC.shape[-1], name="resnet_0")(x_BHWC)
    if cfg.mid_block_add_attention:
      x_BHWC = Attention(cfg, name="attention")(x_BHWC)
    return ResnetBlock(cfg, x_BHWC.shape[-1], name="resnet_1")(x_BHWC)


class Encoder(nn.Module):
  """Pixels -> the two halves (mean, log-variance) of the posterior."""

  config: VAEConfig

  @nn.compact
  def __call__(self, image_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    last = len(cfg.block_out_channels) - 1
    x_BHWC = _conv(cfg, cfg.block_out_channels[0], name="conv_in")(image_BHWC)
    for level, channels in enumerate(cfg.block_out_channels):
      for i in range(cfg.layers_per_block):
        name = f"level_{level}_resnet_{i}"
        x_BHWC = ResnetBlock(cfg, channels, name=name)(x_BHWC)
      if level < last:
        # Padded at the bottom and right only, as the published weights were
        # trained.
        name = f"level_{level}_downsample"
        below = ((0, 1), (0, 1))
        x_BHWC = _conv(cfg, channels, strides=2, padding=below, name=name)(
          x_BHWC
        )
    x_BHWC = MidBlock(cfg, name="mid")(x_BHWC)
    x_BHWC = nn.silu(GroupNorm(cfg, name="norm_out")(x_BHWC))
    return _conv(cfg, 2 * cfg.latent_channels, name="conv_out")(x_BHWC)


class Decoder(nn.Module):
  """Latents -> pixels; level 0 is the lowest resolution, as in diffusers."""

  config: VAEConfig

  @nn.compact
  def __call__(self, latents_BHWC: jax.Array) -> jax.Array:
    cfg = self.config
    widths = cfg.block_out_channels[::-1]
    x_BHWC = _conv(cfg, widths[0], name="conv_in")(latents_BHWC)
    x_BHWC = MidBlock(cfg, name="mid")(x_BHWC)
    for level, channels in enumerate(widths):
      for i in range(cfg.layers_per_block + 1):
        name = f"level_{level}_resnet_{i}"
        x_BHWC = ResnetBlock(cfg, channels, name=name)(x_BHWC)
      if level < len(widths) - 1:
        x_BHWC = Upsample(cfg, name=f"level_{level}_upsample")(x_BHWC)
    x_BHWC = nn.silu(GroupNorm(cfg, name="norm_out")(x_BHWC))
    return _conv(cfg, cfg.out_channels, name="conv_out")(x_BHWC)


class AutoencoderKL(nn.Module):
  """`apply({"params": p}, x, method="encode")` or `method="decode"`."""

  config: VAEConfig

  def setup(self) -> None:
    cfg = self.config
    self.encoder = Encoder(cfg)
    self.decoder = Decoder(cfg)
    if cfg.use_quant_conv:
      self.quant_conv = _conv(cfg, 2 * cfg.latent_channels, 1)
    if cfg.use_post_quant_conv:
      self.post_quant_conv = _conv(cfg, cfg.latent_channels, 1)

  def encode(self, image_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pixels in [-1, 1] -> mean and std of the posterior, unscaled.

    Raises:
      ValueError: height or width does not divide into whole latents.
    """
    stride = self.config.downsampling
    if image_BHWC.shape[1] % stride or image_BHWC.shape[2] % stride:
      raise ValueError(
        f"VAE image is {image_BHWC.shape[1:3]}, expected sides divisible by "
        f"{stride}; change the resolution in the config."
      )
    moments_BHWC = self.encoder(image_BHWC)
    if self.config.use_quant_conv:
      moments_BHWC = self.quant_conv(moments_BHWC)
    mean_BHWC, logvar_BHWC = jnp.split(moments_BHWC, 2, axis=-1)
    return mean_BHWC, jnp.exp(0.5 * jnp.clip(logvar_BHWC, *_LOGVAR_RANGE))

  def decode(self, latents_BHWC: jax.Array) -> jax.Array:
    """Unscaled latents -> pixels, about [-1, 1] (not clipped)."""
    if self.config.use_post_quant_conv:
      latents_BHWC = self.post_quant_conv(latents_BHWC)
    return self.decoder(latents_BHWC)

  def __call__(self, image_BHWC: jax.Array) -> jax.Array:
    """Encode and decode the mean: the reconstruction (and `init`'s path)."""
    mean_BHWC, _ = self.encode(image_BHWC)
    return self.decode(mean_BHWC)
