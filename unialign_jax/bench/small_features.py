"""configs/features.py with the small encoders that come with the package."""

import os

import ml_collections

from configs import features
from unialign_jax.shapes import weights


def get_config() -> ml_collections.ConfigDict:
  config = features.get_config()
  config.encoders.update(
    text=str(weights.TEXT_ENCODER),
    tokenizer=str(weights.TOKENIZER),
    text_dtype="float32",
    image=str(weights.VAE),
    semantic="pooled",
  )
  config.pictures.resolution = 128
  config.writer.processes = min(config.writer.processes, os.cpu_count())
  return config
