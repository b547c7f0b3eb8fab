"""The paper's objective for one batch, and its gradient.

    image pass:  noisy target, conditions, clean prompt, t   -> velocity
    text pass:   clean target, time 0, masked caption        -> logits
    L = flow + 0.2 text + 0.05 cross + 0.1 intrinsic           (Eq. 5)

Both passes go through the same weights. `draw` makes every random choice for
the whole global batch at once, so that neither the number of devices nor the
number of micro-batches changes what is learned.
"""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unialign_jax import losses
from unialign_jax.diffusion import flow
from unialign_jax.diffusion import masked
from unialign_jax.diffusion import vocabulary
from unialign_jax.models import heads
from unialign_jax.training import rng
from unialign_jax.training import state as state_lib

Batch = dict[str, jax.Array]
# (text encoder parameters, ids [b, L]) -> features [b, L, E]
TextApply = Callable[[Any, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
  """How times are drawn; documented in `configs/base.py`."""

  flow_t_mean: float = 0.0
  flow_t_std: float = 1.0
  flow_t_grid: int = 0
  flow_antithetic: bool = False
  text_t_min: float = masked.T_MIN
  text_antithetic: bool = True
  prompt_dropout: float = 0.1

  def __post_init__(self) -> None:
    if not 0 <= self.prompt_dropout < 1 or not 0 < self.text_t_min < 1:
      raise ValueError(
        f"config.diffusion: got prompt_dropout {self.prompt_dropout} and"
        f" text_t_min {self.text_t_min}, expected 0 <= prompt_dropout < 1 and"
        " 0 < text_t_min < 1."
      )


class Draw(NamedTuple):
  """A batch with its randomness settled; leading axis B everywhere."""

  latents_BHWC: jax.Array  # fp32, a sample of the VAE posterior
  eps_BHWC: jax.Array
  t_B: jax.Array  # time of the image
  is_dropped_B: jax.Array  # True where the prompt becomes " "
  masked_ids_BL: jax.Array
  is_masked_BL: jax.Array
  text_t_B: jax.Array  # time of the text
  record: Batch  # everything else of the batch, as it came


class Embeddings(NamedTuple):
  """What InfoNCE compares; unit rows."""

  image_BD: jax.Array
  text_BD: jax.Array


def draw(
  batch: Batch, config: DiffusionConfig, *, seed: int, step: Any, mask_id: int
) -> Draw:
  """Settles posterior, noise, times, dropout and masks of a global batch.

  A batch that brings masked draws (stored mode) keeps them; otherwise they
  are made here (online mode). From there on both modes are the same code.
  """

  def key(name: str) -> jax.Array:
    return rng.stream(seed, name, step)

  mean, std = (
    batch[f"latents_{name}"].astype(jnp.float32) for name in ("mean", "std")
  )
  B = mean.shape[0]
  posterior = jax.random.normal(key("posterior"), mean.shape)
  t_B = flow.sample_t(
    key("flow/t"),
    B,
    mean=config.flow_t_mean,
    std=config.flow_t_std,
    num_steps=config.flow_t_grid,
    antithetic=config.flow_antithetic,
  )
  if "masked_ids" in batch:
    masked_ids, is_masked = batch["masked_ids"], batch["is_masked"]
    text_t_B = batch["masked_t"]
  else:
    text_t_B = masked.sample_t(
      key("text/t"),
      B,
      t_min=config.text_t_min,
      antithetic=config.text_antithetic,
    )
    masked_ids, is_masked = masked.corrupt(
      key("text/mask"),
      batch["caption_ids"],
      text_t_B,
      batch["label_mask"],
      mask_id=mask_id,
    )
  return Draw(
    latents_BHWC=mean + std * posterior,
    eps_BHWC=jax.random.normal(key("flow/eps"), mean.shape),
    t_B=t_B,
    is_dropped_B=jax.random.bernoulli(
      key("prompt/drop"), config.prompt_dropout, (B,)
    ),
    masked_ids_BL=masked_ids,
    is_masked_BL=is_masked,
    text_t_B=text_t_B,
    record=batch,
  )


def text_features(
  drawn: Draw, frozen: state_lib.Frozen, text_apply: TextApply
) -> tuple[jax.Array, jax.Array]:
  """T5 features of the prompt (or of " ") and of the masked caption."""
  record = drawn.record
  if "masked_features" in record:
    prompt, masked_text = record["prompt_features"], record["masked_features"]
  else:
    # Interleaved, not end to end: examples stay on their devices.
    pairs = jnp.stack([record["prompt_ids"], drawn.masked_ids_BL], axis=1)
    ids = pairs.reshape(-1, pairs.shape[-1])
    encoded = jax.lax.stop_gradient(text_apply(frozen.text_encoder, ids))
    encoded = encoded.reshape(*pairs.shape, encoded.shape[-1])
    prompt, masked_text = encoded[:, 0], encoded[:, 1]
  null = frozen.null_text_LE.astype(prompt.dtype)
  is_dropped = drawn.is_dropped_B[:, None, None]
  return jnp.where(is_dropped, null[None], prompt), masked_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
  """The four losses of a batch as a function of the parameters."""

  model_apply: Callable[..., Any]
  text_apply: TextApply
  config: losses.LossConfig
  mask_id: int
  accumulation: int
  text_t_min: float = masked.T_MIN

  def terms(
    self, params: Any, frozen: state_lib.Frozen, drawn: Draw
  ) -> tuple[dict[str, jax.Array], Embeddings]:
    """Both passes: per-example terms but InfoNCE, and what InfoNCE needs."""
    prompt_BLE, masked_BLE = text_features(drawn, frozen, self.text_apply)
    record, x, eps = drawn.record, drawn.latents_BHWC, drawn.eps_BHWC
    cfg = self.config
    by_patch = cfg.intrinsic_image == "patches"
    image_mid = "image_mid_patches" if by_patch else "image_mid"
    image = self.model_apply(
      {"params": params},
      flow.corrupt(x, eps, drawn.t_B),
      prompt_BLE,
      drawn.t_B,
      cond_BNHWC=record.get("cond_latents"),
      heads=("velocity", "image_out", image_mid),
    )
    text = self.model_apply(
      {"params": params},
      x,
      masked_BLE,
      jnp.zeros_like(drawn.t_B),
      heads=(*(() if cfg.text_rows else ("logits",)), "text_out", "text_mid"),
    )
    terms = {
      "flow": flow.loss(
        image.velocity_BHWC, x, eps, drawn.t_B, space=cfg.flow_space
      ),
      "text": masked.weighted(
        self._log_prob(params, text, drawn),
        drawn.is_masked_BL,
        drawn.text_t_B,
        t_min=self.text_t_min,
      ),
      "intrinsic_image": losses.intrinsic(
        record["h_image"],
        image.image_mid_BTE if by_patch else image.image_mid_BE,
        form=cfg.intrinsic_form,
      ),
      "intrinsic_text": losses.intrinsic(
        record["h_text"], text.text_mid_BE, form=cfg.intrinsic_form
      ),
    }
    return terms, Embeddings(
      losses.pool(image.image_out_BTD), losses.pool(text.text_out_BLD)
    )

  def _log_prob(self, params: Any, text: Any, drawn: Draw) -> jax.Array:
    """log p of the clean tokens, [B, L], where they are masked."""
    token_ids_BL = drawn.record["caption_ids"]
    if not self.config.text_rows:
      return masked.token_log_prob(text.logits_BLV, token_ids_BL, self.mask_id)
    return vocabulary.masked_log_prob(
      text.text_out_BLD,
      *heads.text_projection(params, text.text_out_BLD.dtype),
      token_ids_BL,
      drawn.is_masked_BL,
      mask_id=self.mask_id,
      rows=self.config.text_rows,
    )

  def cross(self, embeddings: Embeddings) -> jax.Array:
    """InfoNCE over the whole global batch (or groups of it), [B]."""
    return losses.info_nce(
      *embeddings,
      temperature=self.config.cross_temperature,
      direction=self.config.cross_direction,
      group_size=self.config.cross_group_size,
    )

  def gradient(
    self, params: Any, frozen: state_lib.Frozen, drawn: Draw
  ) -> tuple[Any, dict[str, jax.Array]]:
    """Gradient of the total loss, and its metrics, in one or several parts."""
    if self.accumulation == 1:
      return self._gradient_at_once(params, frozen, drawn)
    return self._gradient_in_parts(params, frozen, drawn)

  def _gradient_at_once(
    self, params: Any, frozen: state_lib.Frozen, drawn: Draw
  ) -> tuple[Any, dict[str, jax.Array]]:
    def loss(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
      terms, embeddings = self.terms(params, frozen, drawn)
      terms["cross"] = self.cross(embeddings)
      return losses.combine(terms, self.config)

    return jax.grad(loss, has_aux=True)(params)

  def _gradient_in_parts(
    self, params: Any, frozen: state_lib.Frozen, drawn: Draw
  ) -> tuple[Any, dict[str, jax.Array]]:
    """Exact accumulation: InfoNCE sees all B negatives (GradCache).

    Pass 1 embeds every micro-batch without gradient. InfoNCE and its gradient
    with respect to the embeddings are then computed on the whole batch. Pass 2
    repeats each micro-batch and pulls that gradient back through it. The extra
    forward pass is the price of exactness (arXiv 2101.06983).
    """
    parts = _split(drawn, self.accumulation)

    def embed(_: None, part: Draw) -> tuple[None, Embeddings]:
      return None, self.terms(params, frozen, part)[1]

    _, embeddings = jax.lax.scan(embed, None, parts)
    whole = jax.tree.map(_join, embeddings)
    cross_loss, pullback = jax.vjp(lambda e: jnp.mean(self.cross(e)), whole)
    (cotangent,) = pullback(
      jnp.asarray(self.config.cross_weight, cross_loss.dtype)
    )
    cotangents = _split(cotangent, self.accumulation)

    def part_loss(
      params: Any, part: Draw, cotangent: Embeddings
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
      terms, embeddings = self.terms(params, frozen, part)
      without_cross = dataclasses.replace(self.config, cross_weight=0.0)
      total, metrics = losses.combine(terms, without_cross)
      pulled = sum(jnp.sum(e * g) for e, g in zip(embeddings, cotangent))
      return total / self.accumulation + pulled, metrics

    def accumulate(sums: Any, part: Any) -> tuple[Any, None]:
      update = jax.grad(part_loss, has_aux=True)(params, *part)
      # Sums in float32, whatever the gradients of the parts are in.
      return jax.tree.map(
        lambda s, u: s + u.astype(s.dtype), sums, update
      ), None

    shapes = jax.eval_shape(
      lambda p: jax.grad(part_loss, has_aux=True)(params, *p),
      jax.tree.map(lambda x: x[0], (parts, cotangents)),
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shapes)
    (grads, metrics), _ = jax.lax.scan(accumulate, zeros, (parts, cotangents))
    metrics = jax.tree.map(lambda m: m / self.accumulation, metrics)
    metrics["loss/cross"] = cross_loss
    metrics["loss/total"] += self.config.cross_weight * cross_loss
    return grads, metrics


def _split(tree: Any, parts: int) -> Any:
  """[B, ...] -> [parts, B / parts, ...], every part spread over all devices.

  Row i goes to part i mod parts: a batch sharded over devices stays where it
  is, instead of part 0 living on the first devices only.
  """

  def split(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)

  return jax.tree.map(split, tree)


def _join(x: jax.Array) -> jax.Array:
  """Inverse of `_split` on one array."""
  return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
