"""The train step in PyTorch: two passes, four losses, AdamW, EMA.

What `training.objective` and `training.step` compute, as a user of PyTorch
would write it: diffusers' SD3 blocks with fused attention, autocast for
bfloat16, fused AdamW, foreach kernels. Needs torch and diffusers.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch.nn import functional

from unialign_jax.convert.pytorch import unialignment_transformer
from unialign_jax.losses import LossConfig
from unialign_jax.training.optimizer import OptimizerConfig

Tensors = Mapping[str, torch.Tensor]
_NEVER = -1e6  # logit of the mask token, as in `diffusion.masked`


class ImagePass(NamedTuple):
  """What the image pass is asked for."""

  velocity: torch.Tensor  # [B, C, H, W]
  image_out: torch.Tensor  # [B, T, D]
  image_mid: torch.Tensor  # [B, E]


class TextPass(NamedTuple):
  """What the text pass is asked for."""

  logits: torch.Tensor  # [B, L, V]
  text_out: torch.Tensor  # [B, L, D]
  text_mid: torch.Tensor  # [B, E]


class Transformer(unialignment_transformer.UniAlignmentTransformer2DModel):
  """The exported class, which also gives what InfoNCE pools.

  `forward` is for use and knows no `image_out` and `text_out`.
  """

  def image_pass(
    self,
    noisy: torch.Tensor,
    prompt: torch.Tensor,
    t: torch.Tensor,
    conditions: torch.Tensor | None,
  ) -> ImagePass:
    """Noisy latents [B, C, H, W], features [B, L, E], times [B]."""
    num_target = self._num_tokens(noisy)
    image, _, time, mid, _ = self._trunk(noisy, prompt, t, conditions)
    image_out = self.image_norm_out(image[:, :num_target], time)
    return ImagePass(
      velocity=self._unpatchify(
        self.image_proj_out(image_out), *noisy.shape[-2:]
      ),
      image_out=image_out,
      image_mid=self.siglip_adapter_img(mid[:, :num_target]),
    )

  def text_pass(self, latents: torch.Tensor, masked: torch.Tensor) -> TextPass:
    """Clean latents [B, C, H, W], features of the masked caption [B, L, E]."""
    t = latents.new_zeros(len(latents))
    _, text, _, _, mid = self._trunk(latents, masked, t, None)
    text_out = self.text_norm_out(text)
    return TextPass(
      logits=self.text_proj_out(text_out),
      text_out=text_out,
      text_mid=self.siglip_adapter_text(mid),
    )

  def _num_tokens(self, latents: torch.Tensor) -> int:
    height, width = latents.shape[-2:]
    return height * width // self.config.patch_size**2

  def _trunk(
    self,
    latents: torch.Tensor,
    features: torch.Tensor,
    t: torch.Tensor,
    conditions: torch.Tensor | None,
  ) -> tuple[torch.Tensor, ...]:
    """Image, text, time; and image, text after `align_depth` blocks."""
    text = self.context_embedder(features)
    time = self.time_text_embed(1000 * t, text.dtype)
    image = self.pos_embed(latents)
    if conditions is not None:
      more = [self.pos_embed(c) for c in conditions.unbind(1)]
      image = torch.cat([image, *more], dim=1)
    for depth, block in enumerate(self.transformer_blocks, start=1):
      text, image = block(image, text, time)
      if depth == self.config.align_depth:
        mid = image, text
    return image, text, time, *mid


class Objective(torch.nn.Module):
  """The weighted loss of a batch, and each of its terms.

  Args:
    network: the transformer.
    config: weights and temperature.
    mask_id: token that is never predicted.
    text_t_min: least time of the text.
    dtype: bfloat16 for autocast, float32 for none.
  """

  def __init__(
    self,
    network: Transformer,
    config: LossConfig,
    mask_id: int,
    text_t_min: float,
    dtype: torch.dtype,
  ):
    super().__init__()
    self.network = network
    self.weights = config.weights
    self.temperature = config.cross_temperature
    self.mask_id = mask_id
    self.text_t_min = text_t_min
    self.dtype = dtype

  def forward(
    self, batch: Tensors, drawn: Tensors
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss to differentiate, and its terms before their weights."""
    x, eps = drawn["latents"], drawn["eps"]
    t = drawn["t"][:, None, None, None]
    prompt = torch.where(
      drawn["is_dropped"][:, None, None],
      batch["null_text"],
      batch["prompt_features"],
    )
    with torch.autocast(
      x.device.type, torch.bfloat16, self.dtype == torch.bfloat16
    ):
      image = self.network.image_pass(
        (1 - t) * x + t * eps, prompt, drawn["t"], batch.get("cond_latents")
      )
      text = self.network.text_pass(x, batch["masked_features"])
    terms = {
      "flow": functional.mse_loss(image.velocity.float(), eps - x),
      "text": self._text(text.logits, batch),
      "cross": self._cross(image.image_out, text.text_out),
      "intrinsic_image": _intrinsic(batch["h_image"], image.image_mid),
      "intrinsic_text": _intrinsic(batch["h_text"], text.text_mid),
    }
    return sum(self.weights[k] * v for k, v in terms.items()), terms

  def _text(self, logits: torch.Tensor, batch: Tensors) -> torch.Tensor:
    logits = logits.float()
    logits[..., self.mask_id] = _NEVER
    nll = functional.cross_entropy(
      logits.flatten(0, 1), batch["caption_ids"].flatten(), reduction="none"
    ).view_as(batch["caption_ids"])
    weight = 1 / batch["text_t"].clamp(min=self.text_t_min)
    return (weight[:, None] * nll * batch["is_masked"]).mean()

  def _cross(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    image, text = (
      functional.normalize(x.float().mean(1), dim=-1) for x in (image, text)
    )
    scores = image @ text.T / self.temperature
    pairs = torch.arange(len(scores), device=scores.device)
    forth = functional.cross_entropy(scores, pairs)
    return 0.5 * (forth + functional.cross_entropy(scores.T, pairs))


def _intrinsic(frozen: torch.Tensor, mid: torch.Tensor) -> torch.Tensor:
  return 1 - functional.cosine_similarity(frozen, mid.float(), dim=-1).mean()


@dataclasses.dataclass
class Step:
  """One update after another.

  Unlike the step in JAX it does not skip updates that are not finite, and its
  draws are made for it.
  """

  objective: Objective
  config: OptimizerConfig
  is_compiled: bool

  def __post_init__(self) -> None:
    config = self.config
    self._params = list(self.objective.parameters())
    self.ema = [p.detach().clone() for p in self._params]
    self._optimizer = torch.optim.AdamW(
      self._params,
      lr=config.learning_rate,
      betas=(config.b1, config.b2),
      eps=config.eps,
      weight_decay=config.weight_decay,
      fused=True,
    )
    self._loss = self.objective
    if self.is_compiled:
      self._loss = torch.compile(self.objective, dynamic=False)
    self._taken = 0

  def __call__(self, batch: Tensors, drawn: Tensors) -> Tensors:
    """Takes a step; loss, terms and gradient norm are still on the device."""
    total, terms = self._loss(batch, drawn)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(self._params, self.config.clip_norm)
    self._taken += 1
    warm = self._taken / max(self.config.warmup_steps, 1)
    for group in self._optimizer.param_groups:
      group["lr"] = self.config.learning_rate * min(warm, 1.0)
    self._optimizer.step()
    self._optimizer.zero_grad()
    with torch.no_grad():
      torch._foreach_lerp_(self.ema, self._params, 1 - self.config.ema_decay)
    named = {f"loss/{k}": v.detach() for k, v in terms.items()}
    return named | {"loss/total": total.detach(), "grad_norm": norm}

  def norms(self) -> dict[str, float]:
    """Of weights and their average, summed in float64."""
    return {
      f"norm/{name}": float(
        sum(x.detach().double().square().sum() for x in tensors) ** 0.5
      )
      for name, tensors in (("params", self._params), ("ema", self.ema))
    }
