"""Encoders without weights: every value is known from its input."""

import types

import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encode

MASK_ID = 3
EOS_ID = 1
VOCAB_SIZE = 64
TEXT_DIM = 4
SEMANTIC_DIM = 5
IMAGE_SIZE = 8
LATENT_SHAPE = (2, 2, 3)


class FakeTextEncoder:
  """One token a word (`#7` is token 7), features that tell id and place."""

  eos_id = EOS_ID
  mask_id = MASK_ID
  vocab_size = VOCAB_SIZE

  def __init__(self, identity: str = "fake text"):
    self.identity = identity
    self.num_encoded = 0

  def tokenizer(self, text: str) -> dict[str, list[int]]:
    ids = [
      int(word[1:]) if word.startswith("#") else 10 + len(word)
      for word in text.split()
    ]
    return {"input_ids": [*ids, EOS_ID]}

  def tokenise(self, texts: list[str], length: int) -> np.ndarray:
    padded = np.full((len(texts), length), EOS_ID, np.int32)
    for row, text in zip(padded, texts, strict=True):
      ids = self.tokenizer(text)["input_ids"][: length - 1]
      row[: len(ids)] = ids
    return padded

  def encode(self, ids_BL: np.ndarray) -> np.ndarray:
    self.num_encoded += len(ids_BL)
    place = np.arange(ids_BL.shape[1])[None, :, None]
    channel = np.arange(TEXT_DIM)[None, None]
    features = ids_BL[..., None] / 8 + place / 16 - channel
    return features.astype(np.float32)


class FakeImageEncoder:
  """Latents are the mean of each 4 x 4 patch, halved; std is constant."""

  identity = "fake image"
  config = types.SimpleNamespace(shift_factor=0, scaling_factor=0.5)

  def encode(self, images_BHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, height, width, channels = images_BHWC.shape
    patches = images_BHWC.reshape(
      batch, height // 4, 4, width // 4, 4, channels
    )
    mean = patches.mean((2, 4), dtype=np.float32) / 2
    return mean, np.full_like(mean, 0.25)


class FakeSemanticEncoder:
  identity = "fake semantic"
  dim = SEMANTIC_DIM
  tokens = 0

  def __call__(
    self, samples: list[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    image = [np.full(self.dim, s.target_image.mean() / 8) for s in samples]
    text = [np.full(self.dim, len(s.caption)) for s in samples]
    return np.float32(image), np.float32(text)


class FakePatchEncoder(FakeSemanticEncoder):
  """One feature a quarter of the picture."""

  identity = "fake semantic by patch"
  tokens = 4

  def __call__(
    self, samples: list[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    h_image, h_text = super().__call__(samples)
    scale = np.arange(1.0, self.tokens + 1, dtype=np.float32)
    return h_image[:, None] * scale[:, None], h_text


def nets() -> encode.Encoders:
  return encode.Encoders(
    text=FakeTextEncoder(),
    image=FakeImageEncoder(),
    semantic=FakeSemanticEncoder(),
  )


def sample(index: int, **changes: object) -> sample_lib.Sample:
  """Sample number `index`: its picture and texts tell the number."""
  fields = {
    "key": f"sample-{index}",
    "task": "text_to_image",
    "source": "fakes",
    "license": "CC0-1.0",
    "caption_source": "generator",
    "target_image": np.full((IMAGE_SIZE, IMAGE_SIZE, 3), index, np.uint8),
    "instruction": f"draw #{10 + index % 50}",
    "caption": f"a #{10 + index % 50}",
  }
  return sample_lib.Sample(**fields | changes)


def edit_sample(index: int) -> sample_lib.Sample:
  image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 100 + index, np.uint8)
  return sample(index, task="edit", cond_images=(image,))
