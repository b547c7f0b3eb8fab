"""Model FLOPs of a step by formula, and the MFU that follows.

    forward = sum over blocks of (24 D^2 + 4 S D) a token       (mlp_ratio 4)
            + sum over dual blocks of (8 D^2 + 4 T D) an image token
    step    = 3 x forward of both passes; remat is not counted

The formula counts what the model needs; XLA's own count misses fused
attention kernels.
"""

from collections.abc import Mapping

import jax

from unialign_jax.models import mmdit
from unialign_jax.models import t5

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
  joint = config.depth * S * (linear + 4 * S * D)
  alone = 8 * D * D + 4 * image_tokens * D  # an image token, of a dual block
  return float(joint + config.dual_attention_depth * image_tokens * alone)


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


def run(
  model: mmdit.MMDiTConfig,
  *,
  steps: int,
  batch_size: int,
  target_tokens: int,
  text_tokens: int,
  conditions: Mapping[int, float],
  t5_config: t5.T5Config | None = None,
) -> float:
  """FLOPs of a whole run.

  Args:
    model: the network.
    steps: of the run.
    batch_size: global.
    target_tokens: image tokens of one picture.
    text_tokens: L.
    conditions: share of the steps by number of condition images.
    t5_config: the text encoder, where it runs in the step: on the prompt and
      on the masked caption.
  """
  step = sum(
    share
    * train_step(
      model,
      batch_size=batch_size,
      target_tokens=target_tokens,
      num_cond=num_cond,
      text_tokens=text_tokens,
    )
    for num_cond, share in conditions.items()
  ) / sum(conditions.values())
  if t5_config is not None:
    step += 2 * batch_size * text_encoder(t5_config, text_tokens)
  return steps * step


def text_encoder(config: t5.T5Config, tokens: int) -> float:
  """FLOPs of T5 on one text of that many tokens."""
  inner = config.num_heads * config.d_kv
  ups = 2 if config.feed_forward_proj == "gated-gelu" else 1
  linear = 8 * config.d_model * inner
  linear += 2 * (1 + ups) * config.d_model * config.d_ff
  return float(config.num_layers * tokens * (linear + 4 * tokens * inner))


def peak(devices: list[jax.Device]) -> float | None:
  """Peak FLOP/s of all devices together, or None where it is not known."""
  each = PEAK_FLOPS.get(devices[0].device_kind)
  return None if each is None else each * len(devices)
