"""Stage 2 with a network that compiles in seconds, on whole TPU tiles."""

import ml_collections

from configs import stage2


def get_config() -> ml_collections.ConfigDict:
  config = stage2.get_config()
  config.model.update(
    width=256,
    depth=3,
    num_heads=4,
    text_dim=128,
    vocab_size=512,
    align_depth=1,
    align_hidden=128,
    semantic_dim=128,
  )
  # 64 image tokens and 64 of text: 128, or 192 with a condition image.
  config.data.update(batch_size=16, resolution=128, text_length=64, mask_id=511)
  config.data.text_features = "stored"
  config.sample.steps = 2
  return config
