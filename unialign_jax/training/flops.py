"""Model FLOPs of a step by formula, and the MFU that follows.

    forward = sum over blocks of (24 D^2 + 4 S D) a token       (mlp_ratio 4)
    step    = 3 x forward of both passes; remat is not counted

The formula counts what the model needs; XLA's own count misses fused
attention kernels.
"""

import jax

from unialign_jax.models import mmdit

# Peak dense bf16 FLOP/s of one device, by what JAX calls it.
PEAK_FLOPS = {
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5e": 197e12,
  "TPU v5": 459e12,
  "TPU v5p": 459e12,
  "TPU v6 lite": 918e12,
  "TPU v6e": 918e12,
  "NVIDIA A100-SXM4-40GB": 312e12,
  "NVIDIA A100-SXM4-80GB": 312e12,
  "NVIDIA H100 80GB HBM3": 989e12,
  "NVIDIA H200": 989e12,
}


def forward(
  config: mmdit.MMDiTConfig, image_tokens: int, text_tokens: int
) -> float:
  """FLOPs of one forward pass of one example.

  Args:
    config: the network.
    image_tokens: of the target and all conditions.
    text_tokens: L.
  """
  S, D = image_tokens + text_tokens, config.width
  linear = (8 + 4 * config.mlp_ratio) * D * D
  return float(config.depth * S * (linear + 4 * S * D))


def train_step(
  config: mmdit.MMDiTConfig,
  *,
  batch_size: int,
  target_tokens: int,
  num_cond: int,
  text_tokens: int,
) -> float:
  """FLOPs of one step: image pass and text pass, forward and backward."""
  image = forward(config, target_tokens * (1 + num_cond), text_tokens)
  text = forward(config, target_tokens, text_tokens)
  return 3.0 * batch_size * (image + text)


def peak(devices: list[jax.Device]) -> float | None:
  """Peak FLOP/s of all devices together, or None where it is not known."""
  each = PEAK_FLOPS.get(devices[0].device_kind)
  return None if each is None else each * len(devices)
