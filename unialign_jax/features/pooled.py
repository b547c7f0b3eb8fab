"""Semantic features without a vision-language model: random projections.

A stand-in for the Qwen2.5-VL features of the paper, for worlds too small or
machines too weak for it. It carries no knowledge of its own: a fixed Gaussian
projection of the mean VAE latent (image) and of the mean T5 feature (text), so
aligning to it asks the network to keep colour and word averages, no more.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encoders


class PooledFeatures:
  """Maps samples to (h_image `[B, S]`, h_text `[B, S]`), float32.

  Attributes:
    dim: S.
    identity: Changes with the encoders, S, the text length and the seed.
  """

  def __init__(
    self,
    text_encoder: encoders.TextEncoder,
    image_encoder: encoders.ImageEncoder,
    *,
    dim: int,
    text_length: int,
    seed: int = 0,
  ):
    self.dim = dim
    self.tokens = 0
    self._text_encoder = text_encoder
    self._image_encoder = image_encoder
    self._text_length = text_length
    self._seed = seed
    parts = [text_encoder.identity, image_encoder.identity]
    description = json.dumps(["pooled", *parts, dim, text_length, seed])
    self.identity = hashlib.sha256(description.encode()).hexdigest()

  def __call__(
    self, samples: Sequence[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([sample.target_image for sample in samples])
    mean_BHWC, _ = self._image_encoder.encode(images)
    ids_BL = self._text_encoder.tokenise(
      [sample.caption for sample in samples], self._text_length
    )
    text_BLE = np.asarray(self._text_encoder.encode(ids_BL), np.float32)
    # Padding is EOS too: a text ends with its first one.
    is_eos_BL = np.asarray(ids_BL) == self._text_encoder.eos_id
    is_text_BL = np.cumsum(is_eos_BL, axis=1) - is_eos_BL == 0
    weight_BL1 = is_text_BL[:, :, None].astype(np.float32)
    text_BE = (text_BLE * weight_BL1).sum(1) / weight_BL1.sum(1)
    image_BC = np.asarray(mean_BHWC, np.float32).mean((1, 2))
    return self._project(image_BC, 0), self._project(text_BE, 1)

  def _project(self, features: np.ndarray, stream: int) -> np.ndarray:
    rng = np.random.default_rng([self._seed, stream])
    width = features.shape[-1]
    projection = rng.standard_normal((width, self.dim), np.float32)
    return features @ (projection / np.sqrt(np.float32(width)))
