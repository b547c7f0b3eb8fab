"""The one network: an SD3-style MMDiT with an image head and a text head.

    image  = patches of the target + patches of the conditions   [B, T', D]
    text   = projected T5 features                                [B, L,  D]
    time   = embedding of 1000 t                                  [B, D]
    image, text = block_1 .. block_depth(image, text, time)
    velocity from the target's image tokens, logits from the text tokens

Differences from SD3 are those of Dual Diffusion and UniAlignment: modulation
from the timestep alone, a full context stream in the last block, a text head,
a learned null image, two alignment heads. With `dual_attention_depth` the
first blocks are SD3.5-medium's, in which the image also attends to itself.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from unialign_jax import sharding
from unialign_jax.models import attention
from unialign_jax.models import heads as heads_lib
from unialign_jax.models import layers
from unialign_jax.models import positions
from unialign_jax.models import products
from unialign_jax.models import stacks

HEADS = (
  "velocity",
  "logits",
  "image_out",
  "text_out",
  "image_mid",
  "text_mid",
  "image_mid_patches",
)
_SAVE = jax.checkpoint_policies.save_only_these_names
REMAT_POLICIES: dict[str, Callable | None] = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "attention": _SAVE(attention.SAVED),
  "attention_qkv": _SAVE(attention.SAVED, "qkv"),
  "attention_qkv_mlp": _SAVE(attention.SAVED, "qkv", "mlp"),
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMDiTConfig:
  """Shape of the network; `configs/base.py` documents every field."""

  in_channels: int = 16
  patch_size: int = 2
  width: int = 1536
  depth: int = 24
  num_heads: int = 24
  mlp_ratio: int = 4
  text_dim: int = 4096
  vocab_size: int = 32100
  pos_embed_size: int = 192
  pos_embed_base: int = 64
  null_image_tokens: int = 8
  qk_norm: bool = False
  dual_attention_depth: int = 0
  align_depth: int = 8
  align_hidden: int = 2048
  semantic_dim: int = 3584
  scan_layers: bool = True
  remat: str = "none"
  attention: str = "auto"
  dtype: str = "float32"

  def __post_init__(self) -> None:
    if self.width % self.num_heads or self.width % 4:
      raise ValueError(
        f"config.model.width: got {self.width}, expected a multiple of"
        f" num_heads = {self.num_heads} and of 4 (sine and cosine of rows and"
        " columns); change width or num_heads."
      )
    if not 1 <= self.align_depth <= self.depth:
      raise ValueError(
        f"config.model.align_depth: got {self.align_depth}, expected 1 to"
        f" depth = {self.depth}."
      )
    if not 0 <= self.dual_attention_depth <= self.depth:
      raise ValueError(
        "config.model.dual_attention_depth: got"
        f" {self.dual_attention_depth}, expected 0 to depth = {self.depth}."
      )
    if self.remat not in REMAT_POLICIES:
      raise ValueError(
        f"config.model.remat: got {self.remat!r}, expected one of"
        f" {sorted(REMAT_POLICIES)}."
      )


class ModelOutput(NamedTuple):
  """One forward pass; what was not asked for is None."""

  velocity_BHWC: jax.Array | None
  logits_BLV: jax.Array | None
  image_out_BTD: jax.Array | None
  text_out_BLD: jax.Array | None
  image_mid_BE: jax.Array | None
  text_mid_BE: jax.Array | None
  image_mid_BTE: jax.Array | None  # the same head on every token: REPA


class _Mid(NamedTuple):
  """What leaves the trunk at the alignment depth."""

  image_BD: jax.Array  # the target's tokens, averaged
  text_BD: jax.Array
  image_BTD: jax.Array  # meaningful only where tokens are kept


class MMDiT(nn.Module):
  """The multimodal diffusion transformer; pure `init` and `apply`."""

  config: MMDiTConfig

  @nn.compact
  def __call__(
    self,
    latents_BHWC: jax.Array | None,
    text_BLE: jax.Array,
    t_B: jax.Array,
    cond_BNHWC: jax.Array | None = None,
    *,
    heads: Collection[str] = HEADS,
  ) -> ModelOutput:
    """Runs the trunk once and the heads asked for.

    Args:
      latents_BHWC: scaled latents at time `t`; None selects the null image.
      text_BLE: T5 features; E here is `text_dim`.
      t_B: diffusion time of the image in [0, 1], fp32; 0 in the text pass.
        [1] stands for the whole batch: its modulation is computed once.
      cond_BNHWC: clean scaled latents of N condition images.
      heads: which fields of `ModelOutput` to compute.

    Raises:
      ValueError: for an unknown head, or latents that patches do not tile.
    """
    cfg = self.config
    if unknown := set(heads) - set(HEADS):
      raise ValueError(f"heads: got {sorted(unknown)}, expected among {HEADS}.")
    dtype = jnp.dtype(cfg.dtype)

    time_BD = layers.TimeEmbed(cfg.width, dtype, name="time_embed")(t_B)
    text_BLD = products.Dense(cfg.width, dtype=dtype, name="context_embed")(
      text_BLE.astype(dtype)
    )
    image_BTD, num_target = self._image_tokens(
      latents_BHWC, cond_BNHWC, text_BLE.shape[0], dtype
    )
    image_BTD, text_BLD = map(sharding.spread_tokens, (image_BTD, text_BLD))
    wanted = HEADS if self.is_initializing() else heads
    image_BTD, text_BLD, mid = self._trunk(
      image_BTD,
      text_BLD,
      time_BD,
      num_target,
      keep_tokens="image_mid_patches" in wanted,
    )
    grid = None if latents_BHWC is None else latents_BHWC.shape[1:3]
    return self._heads(
      image_BTD[:, :num_target], text_BLD, time_BD, mid, grid, wanted
    )

  def _image_tokens(
    self,
    latents_BHWC: jax.Array | None,
    cond_BNHWC: jax.Array | None,
    batch: int,
    dtype: jnp.dtype,
  ) -> tuple[jax.Array, int]:
    """Target tokens, then condition tokens; and how many are the target's."""
    cfg = self.config
    null = self.param(
      "null_image_embed",
      nn.initializers.normal(0.02),
      (1, cfg.null_image_tokens, cfg.width),
    ).astype(dtype)
    embed = products.Dense(cfg.width, dtype=dtype, name="patch_embed")
    if latents_BHWC is None:
      if self.is_initializing():
        raise ValueError("init needs latents: got None, which has no patches.")
      shape = (batch, cfg.null_image_tokens, cfg.width)
      return jnp.broadcast_to(null, shape), cfg.null_image_tokens

    pictures = latents_BHWC[:, None]
    if cond_BNHWC is not None:
      pictures = jnp.concatenate(
        [pictures, cond_BNHWC.astype(latents_BHWC.dtype)], axis=1
      )
    B, N, H, W, C = pictures.shape
    P = cfg.patch_size
    if H % P or W % P or cfg.in_channels != C:
      raise ValueError(
        f"latents: got {H} x {W} x {C}, expected multiples of the patch size"
        f" {P} and {cfg.in_channels} channels (config.model.patch_size,"
        " config.model.in_channels)."
      )
    table = positions.cropped_positions(
      cfg.width, cfg.pos_embed_size, cfg.pos_embed_base, H // P, W // P
    )
    patches = positions.patchify(pictures.reshape(B * N, H, W, C), P)
    tokens = embed(patches.astype(dtype)) + jnp.asarray(table, dtype)[None]
    return tokens.reshape(B, -1, cfg.width), tokens.shape[1]

  def _trunk(
    self,
    image_BTD: jax.Array,
    text_BLD: jax.Array,
    time_BD: jax.Array,
    num_target: int,
    keep_tokens: bool,
  ) -> tuple[jax.Array, jax.Array, _Mid]:
    """All joint blocks, and what the alignment heads read."""
    cfg = self.config
    inputs = image_BTD, text_BLD, time_BD
    carry = (image_BTD, text_BLD), image_BTD[:, :num_target]
    first = 0  # block of this stack, counted over all of them
    for name, block, depth in self._stacks():
      # `param` alone would refuse the kernels that use/quantise.py makes.
      if (stacked := self.get_variable("params", name)) is None:
        stacked = self.param(name, stacks.init, block, depth, inputs)
      stacked = stacks.rounded(stacked, jnp.dtype(cfg.dtype))
      layer = self._layer(block, time_BD, num_target, keep_tokens)
      mid = cfg.align_depth - 1 - first
      if cfg.scan_layers:
        # Pooling in every layer costs one read of the residual stream, and
        # keeps the parameters one stack whatever the alignment depth is.
        numbered = (jnp.arange(first, first + depth), stacked)
        carry, pooled = jax.lax.scan(layer, carry, numbered)
        if 0 <= mid < depth:
          means = tuple(p[mid] for p in pooled)
      else:
        by_layer = stacks.unstack(stacked)
        for i, params in zip(range(depth), by_layer, strict=True):
          carry, pooled = layer(carry, (first + i, params))
          self.sow("intermediates", "blocks", carry[0])
          if i == mid:
            means = pooled
      first += depth
    return *carry[0], _Mid(*means, carry[1])

  def _stacks(self) -> Iterator[tuple[str, layers.JointBlock, int]]:
    """The stacks of equal blocks in order: name, block, number of blocks."""
    cfg = self.config
    dual_depth = cfg.dual_attention_depth
    depths = dual_depth, cfg.depth - dual_depth
    for name, depth, dual in zip(stacks.NAMES, depths, (True, False)):
      if depth:
        block = layers.JointBlock(
          cfg.width,
          cfg.num_heads,
          cfg.mlp_ratio,
          cfg.qk_norm,
          cfg.attention,
          jnp.dtype(cfg.dtype),
          dual,
          parent=None,
        )
        yield name, block, depth

  def _layer(
    self,
    block: layers.JointBlock,
    time_BD: jax.Array,
    num_target: int,
    keep_tokens: bool,
  ) -> Callable:
    """One step of the trunk, as `lax.scan` takes it.

    The carry is (streams, tokens kept at the alignment depth), the input
    (number of the block, its parameters), the output the mean of each stream.
    """
    cfg = self.config

    def apply_block(streams: tuple, params: Any) -> tuple[tuple, tuple]:
      image, text = block.apply({"params": params}, *streams, time_BD)
      return (image, text), (image[:, :num_target].mean(1), text.mean(1))

    if REMAT_POLICIES[cfg.remat] is not None:
      # Inside a scan nothing can be hoisted, so CSE protection is not needed.
      apply_block = jax.checkpoint(
        apply_block,
        policy=REMAT_POLICIES[cfg.remat],
        prevent_cse=not cfg.scan_layers,
      )

    def layer(carry: tuple, numbered: tuple) -> tuple[tuple, tuple]:
      streams, tokens = carry
      index, params = numbered
      streams, pooled = apply_block(streams, params)
      if keep_tokens:
        is_mid = index == cfg.align_depth - 1
        tokens = jnp.where(is_mid, streams[0][:, :num_target], tokens)
      return (streams, tokens), pooled

    return layer

  def _heads(
    self,
    image_BTD: jax.Array,
    text_BLD: jax.Array,
    time_BD: jax.Array,
    mid: _Mid,
    grid: tuple[int, int] | None,
    heads: Collection[str],
  ) -> ModelOutput:
    """Applies the heads asked for, to the target's tokens only."""
    cfg = self.config
    dtype = jnp.dtype(cfg.dtype)
    patch_dim = cfg.patch_size**2 * cfg.in_channels
    image_head = heads_lib.ImageHead(
      cfg.width, patch_dim, dtype, name="image_head"
    )
    text_head = heads_lib.TextHead(cfg.vocab_size, dtype, name="text_head")
    out = {}
    if {"velocity", "image_out"} & set(heads):
      out["image_out"] = image_head.norm(image_BTD, time_BD)
    if "velocity" in heads and grid is not None:
      patches = image_head.project(out["image_out"])
      out["velocity"] = positions.unpatchify(patches, *grid, cfg.patch_size)
    if {"logits", "text_out"} & set(heads):
      out["text_out"] = text_head.norm(text_BLD)
    if "logits" in heads:
      out["logits"] = text_head.project(out["text_out"])
    align_image, align_text = (
      heads_lib.AlignHead(
        cfg.align_hidden, cfg.semantic_dim, dtype, name=f"align_{name}"
      )
      for name in ("image", "text")
    )
    for name, align, features in (
      ("image_mid", align_image, mid.image_BD),
      ("text_mid", align_text, mid.text_BD),
      ("image_mid_patches", align_image, mid.image_BTD),
    ):
      if name in heads:
        out[name] = align(features)
    return ModelOutput(*(out.get(h) if h in heads else None for h in HEADS))


def abstract_params(config: MMDiTConfig) -> Any:
  """Shapes of the parameters, float32; nothing is computed."""
  side = config.patch_size

  def shaped(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  return jax.eval_shape(
    MMDiT(config).init,
    jax.random.key(0),
    shaped(1, side, side, config.in_channels),
    shaped(1, 1, config.text_dim),
    shaped(1),
  )["params"]
