"""The network in PyTorch, wired from diffusers' own SD3 parts.

What SD3 has, comes from diffusers; what UniAlignment adds (DESIGN section 4)
is spelled here in plain torch, with the authors' names.
"""

import diffusers
import torch
from diffusers.models import attention
from diffusers.models import embeddings
from diffusers.models import normalization
from torch import nn

from unialign_jax.models import mmdit


class _TimeEmbed(nn.Module):
  """SD3's `time_text_embed` without the pooled text."""

  def __init__(self, width: int):
    super().__init__()
    self.time_proj = embeddings.Timesteps(
      num_channels=256, flip_sin_to_cos=True, downscale_freq_shift=0
    )
    self.timestep_embedder = embeddings.TimestepEmbedding(256, width)

  def forward(self, timestep: torch.Tensor) -> torch.Tensor:
    return self.timestep_embedder(self.time_proj(timestep))


class _Adapter(nn.Module):
  def __init__(self, width: int, hidden: int, semantic: int):
    super().__init__()
    self.fc = nn.Sequential(
      nn.Linear(width, hidden),
      nn.SiLU(),
      nn.Linear(hidden, semantic),
      nn.SiLU(),
    )

  def forward(self, tokens: torch.Tensor) -> torch.Tensor:
    return self.fc(tokens.mean(1))


class TorchMMDiT(nn.Module):
  """Same inputs and outputs as `mmdit.MMDiT`, channels first."""

  def __init__(self, config: mmdit.MMDiTConfig):
    super().__init__()
    self.config = config
    width, patch = config.width, config.patch_size
    sd3 = diffusers.SD3Transformer2DModel(
      sample_size=config.pos_embed_base * patch,
      patch_size=patch,
      in_channels=config.in_channels,
      out_channels=config.in_channels,
      num_layers=1,
      attention_head_dim=width // config.num_heads,
      num_attention_heads=config.num_heads,
      joint_attention_dim=config.text_dim,
      caption_projection_dim=width,
      pos_embed_max_size=config.pos_embed_size,
      qk_norm="rms_norm" if config.qk_norm else None,
    )
    self.pos_embed = sd3.pos_embed
    self.context_embedder = sd3.context_embedder
    self.time_text_embed = _TimeEmbed(width)
    self.transformer_blocks = nn.ModuleList(
      attention.JointTransformerBlock(
        dim=width,
        num_attention_heads=config.num_heads,
        attention_head_dim=width // config.num_heads,
        context_pre_only=False,
        qk_norm="rms_norm" if config.qk_norm else None,
        use_dual_attention=i < config.dual_attention_depth,
      )
      for i in range(config.depth)
    )
    self.image_norm_out = normalization.AdaLayerNormContinuous(
      width, width, elementwise_affine=False, eps=1e-6
    )
    self.image_proj_out = nn.Linear(width, patch * patch * config.in_channels)
    self.text_norm_out = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
    self.text_proj_out = nn.Linear(width, config.vocab_size)
    self.null_image_embd = nn.Parameter(
      torch.zeros(1, config.null_image_tokens, width)
    )
    adapter = (width, config.align_hidden, config.semantic_dim)
    self.siglip_adapter_img = _Adapter(*adapter)
    self.siglip_adapter_text = _Adapter(*adapter)

  def forward(self, latents, text, t, cond=None) -> mmdit.ModelOutput:
    time = self.time_text_embed(t * 1000)
    text = self.context_embedder(text)
    if latents is None:
      image = self.null_image_embd.expand(len(text), -1, -1)
    else:
      image = self.pos_embed(latents)
    target = image.shape[1]
    if cond is not None:
      conditions = [self.pos_embed(c) for c in cond.unbind(1)]
      image = torch.cat([image, *conditions], dim=1)
    for i, block in enumerate(self.transformer_blocks, start=1):
      text, image = block(image, text, time)
      if i == self.config.align_depth:
        image_mid = self.siglip_adapter_img(image[:, :target])
        by_patch = self.siglip_adapter_img.fc(image[:, :target])
        text_mid = self.siglip_adapter_text(text)
    image_out = self.image_norm_out(image[:, :target], time)
    text_out = self.text_norm_out(text)
    velocity = None
    if latents is not None:
      velocity = self._unpatchify(self.image_proj_out(image_out), latents)
    logits = self.text_proj_out(text_out)
    return mmdit.ModelOutput(
      velocity, logits, image_out, text_out, image_mid, text_mid, by_patch
    )

  def _unpatchify(self, patches, latents) -> torch.Tensor:
    """The einsum of SD3Transformer2DModel.forward."""
    batch, channels, height, width = latents.shape
    p = self.config.patch_size
    x = patches.reshape(batch, height // p, width // p, p, p, channels)
    return torch.einsum("nhwpqc->nchpwq", x).reshape(latents.shape)
