"""Stage 3 of the paper: supervised fine-tuning, 30k steps at batch 256.

BLIP3o-60k, ShareGPT-4o-Image and LLaVA-OneVision; the weights are this
project's, the paper names none.

    python -m unialign_jax.train --config=stage3.py --workdir=runs/stage3 \
      --config.encoders.text=ENCODERS/text_encoder_3 \
      --config.encoders.tokenizer=ENCODERS/tokenizer_3 \
      --config.encoders.image=ENCODERS/vae
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = (
    ("features/blip3o_60k", 0.35),
    ("features/sharegpt_4o_image", 0.15),
    ("features/sharegpt_4o_edit", 0.15),
    ("features/llava_onevision", 0.35),
  )
  config.train.steps = 30_000
  # The paper's choice of what is trained:
  # config.optimizer.trainable = ("blocks/.*", "align_.*")
  return config
