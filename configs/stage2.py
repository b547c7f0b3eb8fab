"""Stage 2 of the paper: multi-task joint pretraining, 80k steps at batch 256.

Editing and perception beside text-to-image; every step has one task. The
paper names the data sets but not their weights: these are this project's.

    python -m unialign_jax.train --config=stage2.py --workdir=runs/stage2 \
      --config.encoders.text=ENCODERS/text_encoder_3 \
      --config.encoders.tokenizer=ENCODERS/tokenizer_3 \
      --config.encoders.image=ENCODERS/vae
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = (
    ("features/text_to_image_2m", 0.4),
    ("features/edit", 0.35),
    ("features/perception", 0.15),
    ("features/personalise", 0.1),
  )
  # The paper's choice of what is trained:
  # config.optimizer.trainable = ("blocks/.*", "align_.*")
  return config
