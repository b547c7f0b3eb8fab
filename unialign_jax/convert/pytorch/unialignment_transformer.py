"""The UniAlignment transformer (arXiv 2509.23760) for diffusers.

This file travels with the weights and needs PyTorch and diffusers alone. What
SD3 has is diffusers' own, and keeps its parameter names; the rest has those of
the UniAlignment authors.
"""

import dataclasses
from collections.abc import Collection

import diffusers
import torch
from diffusers import configuration_utils
from diffusers import utils
from diffusers.models import attention
from diffusers.models import embeddings
from diffusers.models import normalization
from torch import nn


@dataclasses.dataclass
class UniAlignmentOutput(utils.BaseOutput):
  """One forward pass; what was not asked for is None.

  Attributes:
    sample: velocity [B, C, H, W].
    logits: [B, L, V].
    image_mid: image features [B, E] for alignment, after `align_depth` blocks.
    text_mid: those of the text, [B, E].
  """

  sample: torch.Tensor | None = None
  logits: torch.Tensor | None = None
  image_mid: torch.Tensor | None = None
  text_mid: torch.Tensor | None = None


class _TimeEmbed(nn.Module):
  """SD3's `time_text_embed` without the pooled text."""

  def __init__(self, width: int):
    super().__init__()
    self.time_proj = embeddings.Timesteps(256, True, 0)
    self.timestep_embedder = embeddings.TimestepEmbedding(256, width)

  def forward(self, timestep: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return self.timestep_embedder(self.time_proj(timestep).to(dtype))


class _AlignHead(nn.Module):
  """Tokens -> mean -> Linear, SiLU, Linear, SiLU."""

  def __init__(self, width: int, hidden: int, semantic_dim: int):
    super().__init__()
    self.fc = nn.Sequential(
      nn.Linear(width, hidden),
      nn.SiLU(),
      nn.Linear(hidden, semantic_dim),
      nn.SiLU(),
    )

  def forward(self, tokens: torch.Tensor) -> torch.Tensor:
    return self.fc(tokens.mean(1))


class UniAlignmentTransformer2DModel(diffusers.SD3Transformer2DModel):
  """SD3's transformer with two heads, a null image and condition images.

  Args beyond those of `SD3Transformer2DModel`:
    vocab_size: V, width of the logits.
    null_image_tokens: learned tokens that stand in for no image.
    align_depth: block after which the alignment heads read.
    align_hidden: hidden width of the alignment heads.
    semantic_dim: E, their output width.
  """

  @configuration_utils.register_to_config
  def __init__(
    self,
    vocab_size: int = 32100,
    sample_size: int = 128,
    patch_size: int = 2,
    in_channels: int = 16,
    num_layers: int = 24,
    attention_head_dim: int = 64,
    num_attention_heads: int = 24,
    joint_attention_dim: int = 4096,
    caption_projection_dim: int = 1536,
    pooled_projection_dim: int = 2048,
    out_channels: int = 16,
    pos_embed_max_size: int = 192,
    dual_attention_layers: tuple[int, ...] = (),
    qk_norm: str | None = None,
    null_image_tokens: int = 8,
    align_depth: int = 8,
    align_hidden: int = 2048,
    semantic_dim: int = 3584,
  ):
    super().__init__(
      sample_size=sample_size,
      patch_size=patch_size,
      in_channels=in_channels,
      num_layers=num_layers,
      attention_head_dim=attention_head_dim,
      num_attention_heads=num_attention_heads,
      joint_attention_dim=joint_attention_dim,
      caption_projection_dim=caption_projection_dim,
      pooled_projection_dim=pooled_projection_dim,
      out_channels=out_channels,
      pos_embed_max_size=pos_embed_max_size,
      dual_attention_layers=dual_attention_layers,
      qk_norm=qk_norm,
    )
    width = self.inner_dim
    del self.norm_out, self.proj_out
    self.time_text_embed = _TimeEmbed(width)
    # Unlike SD3's, the last block keeps its context stream: it is read.
    self.transformer_blocks[-1] = attention.JointTransformerBlock(
      dim=width,
      num_attention_heads=num_attention_heads,
      attention_head_dim=attention_head_dim,
      qk_norm=qk_norm,
      use_dual_attention=num_layers - 1 in dual_attention_layers,
    )
    self.image_norm_out = normalization.AdaLayerNormContinuous(
      width, width, elementwise_affine=False, eps=1e-6
    )
    self.image_proj_out = nn.Linear(width, patch_size**2 * out_channels)
    self.text_norm_out = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
    self.text_proj_out = nn.Linear(width, vocab_size)
    self.null_image_embd = nn.Parameter(
      torch.zeros(1, null_image_tokens, width)
    )
    self.siglip_adapter_img = _AlignHead(width, align_hidden, semantic_dim)
    self.siglip_adapter_text = _AlignHead(width, align_hidden, semantic_dim)

  def forward(
    self,
    hidden_states: torch.Tensor | None,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    condition_states: torch.Tensor | None = None,
    heads: Collection[str] = ("sample", "logits"),
  ) -> UniAlignmentOutput:
    """Runs the blocks once and the heads asked for.

    Args:
      hidden_states: scaled latents [B, C, H, W]; None for the null image.
      encoder_hidden_states: T5 features [B, L, text width].
      timestep: 1000 t, [B]; 0 for texts.
      condition_states: clean scaled latents [B, N, C, H, W].
      heads: fields of `UniAlignmentOutput`.
    """
    text = self.context_embedder(encoder_hidden_states)
    time = self.time_text_embed(timestep, text.dtype)
    if hidden_states is None:
      image = self.null_image_embd.expand(len(text), -1, -1)
    else:
      image = self.pos_embed(hidden_states)
    num_target = image.shape[1]
    if condition_states is not None:
      conditions = [self.pos_embed(c) for c in condition_states.unbind(1)]
      image = torch.cat([image, *conditions], dim=1)
    out = UniAlignmentOutput()
    for depth, block in enumerate(self.transformer_blocks, start=1):
      if torch.is_grad_enabled() and self.gradient_checkpointing:
        text, image = self._gradient_checkpointing_func(
          block, image, text, time
        )
      else:
        text, image = block(image, text, time)
      if depth == self.config.align_depth:
        if "image_mid" in heads:
          out.image_mid = self.siglip_adapter_img(image[:, :num_target])
        if "text_mid" in heads:
          out.text_mid = self.siglip_adapter_text(text)
    if "sample" in heads and hidden_states is not None:
      tokens = self.image_norm_out(image[:, :num_target], time)
      out.sample = self._unpatchify(
        self.image_proj_out(tokens), *hidden_states.shape[-2:]
      )
    if "logits" in heads:
      out.logits = self.text_proj_out(self.text_norm_out(text))
    return out

  def _unpatchify(
    self, patches: torch.Tensor, height: int, width: int
  ) -> torch.Tensor:
    """[B, T, P P C] -> [B, C, height, width]."""
    p = self.config.patch_size
    grid = patches.unflatten(2, (p, p, -1))
    grid = grid.unflatten(1, (height // p, width // p))
    x = torch.einsum("nhwpqc->nchpwq", grid)
    return x.reshape(len(patches), -1, height, width)
