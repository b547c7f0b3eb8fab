"""Samples in, records out, through the frozen encoders."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import draws
from unialign_jax.features import encoders
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import quantise
from unialign_jax.features import schema
from unialign_jax.features import tokens as tokens_lib


class SemanticEncoder(Protocol):
  """Gives the targets of the intrinsic alignment loss."""

  dim: int  # S
  tokens: int  # T where h_image is kept by patch, 0 where it is averaged
  identity: str  # hash of what it computes

  def __call__(
    self, samples: Sequence[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    """h_image of the target images and h_text of the captions, `[B, S]`.

    h_image is `[B, T, S]` where `tokens` is T.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoders:
  """The frozen networks that a feature set is made with."""

  text: encoders.TextEncoder
  image: encoders.ImageEncoder
  semantic: SemanticEncoder


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Item:
  """A sample that can be encoded, with its number in the whole set."""

  index: int
  sample: sample_lib.Sample
  tokens: tokens_lib.Tokens


class RecordEncoder:
  """Encodes the samples of one feature set.

  Args:
    nets: The frozen encoders.
    layout: Of the feature set.
    image_shape: Height, width and channels of every picture.
  """

  def __init__(
    self,
    nets: Encoders,
    layout: manifest_lib.Layout,
    image_shape: tuple[int, ...],
  ):
    self._nets = nets
    self._layout = layout
    self._image_shape = image_shape

  def prepare(self, index: int, sample: sample_lib.Sample) -> Item:
    """Checks and tokenises sample number `index` of the whole set.

    Raises:
      SampleError: the sample does not belong in this set or cannot be encoded.
    """
    for what, got, expected in (
      ("task", sample.task, self._layout.task),
      ("condition images", len(sample.cond_images), self._layout.num_cond),
    ):
      if got != expected:
        raise tokens_lib.SampleError(
          sample,
          f"got {what} {got}, expected {expected} as in the first sample; a"
          " feature set holds one task with one number of condition images",
        )
    for image in (sample.target_image, *sample.cond_images):
      if image.shape != self._image_shape or image.dtype != np.uint8:
        raise tokens_lib.SampleError(
          sample,
          f"got an image {image.dtype} {image.shape}, expected uint8"
          f" {self._image_shape} as in the first sample; resize it in the"
          " source",
        )
    tokens = tokens_lib.tokenise(
      sample, self._nets.text, self._layout.text_length
    )
    return Item(index=index, sample=sample, tokens=tokens)

  def encode(self, items: Sequence[Item]) -> list[schema.Record]:
    """The records of one batch of items.

    Raises:
      ValueError: an encoder gave a value that is not finite as it is stored.
    """
    fields = self._image_fields(items) | self._semantic_fields(items)
    fields |= self._token_fields(items)
    if self._layout.draws:
      fields |= self._stored_fields(items, fields)
    return [
      schema.Record(
        **{name: value[i] for name, value in fields.items()},
        task=item.sample.task,
        source=item.sample.source,
        key=item.sample.key,
        license=item.sample.license,
        caption_source=item.sample.caption_source,
      )
      for i, item in enumerate(items)
    ]

  def _image_fields(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
    encode = self._nets.image.encode
    mean, std = encode(np.stack([item.sample.target_image for item in items]))
    conds = [
      encode(np.stack([item.sample.cond_images[n] for item in items]))[0]
      for n in range(self._layout.num_cond)
    ]
    no_conds = np.zeros((len(items), 0, *self._layout.latent_shape))
    return {
      "latents_mean": _float16("latents_mean", mean),
      "latents_std": _float16("latents_std", std),
      "cond_latents": _float16(
        "cond_latents", np.stack(conds, axis=1) if conds else no_conds
      ),
    }

  def _semantic_fields(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
    h_image, h_text = self._nets.semantic([item.sample for item in items])
    return {
      "h_image": _float16("h_image", h_image),
      "h_text": _float16("h_text", h_text),
    }

  def _token_fields(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
    names = ("prompt_ids", "caption_ids", "label_mask")
    return {
      name: np.stack([getattr(item.tokens, name) for item in items])
      for name in names
    }

  def _stored_fields(
    self, items: Sequence[Item], fields: dict[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    """The clean prompt's features, and M masked captions with theirs."""
    masked_ids, is_masked, t = draws.masked_draws(
      jax.random.key(self._layout.seed),
      np.array([item.index for item in items], np.int32),
      fields["caption_ids"],
      fields["label_mask"].astype(bool),
      draws=self._layout.draws,
      mask_id=self._layout.mask_id,
    )
    masked_ids = np.asarray(masked_ids)
    features = {
      "prompt": self._text_features(fields["prompt_ids"]),
      "masked": self._text_features(masked_ids),
    }
    stored = {
      "masked_ids": masked_ids,
      "is_masked": np.asarray(is_masked).astype(np.uint8),
      "masked_t": np.asarray(t),
    }
    for name, value in features.items():
      quantised, scale = quantise.quantise(value, self._layout.feature_dtype)
      stored[f"{name}_features"] = quantised
      if scale is not None:
        stored[f"{name}_scale"] = scale
    return stored

  def _text_features(self, ids: np.ndarray) -> np.ndarray:
    """Features `[..., L, E]` float32 of ids `[..., L]`."""
    flat_BL = ids.reshape(-1, ids.shape[-1])
    features_BLE = np.asarray(self._nets.text.encode(flat_BL), np.float32)
    return features_BLE.reshape(*ids.shape, -1)


def _float16(name: str, value: np.ndarray | jax.Array) -> np.ndarray:
  with np.errstate(over="ignore"):  # reported below, by name
    result = np.asarray(value).astype(np.float16)
  if not np.isfinite(result).all():
    raise ValueError(
      f"{name}: got a value that is not finite as float16, expected finite"
      " features; check the weights of the encoder that made it"
    )
  return result
