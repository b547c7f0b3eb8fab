"""Stage 1 of the paper: image-text pretraining, 80k steps at batch 256.

Text-to-image and captioning on Text-to-Image-2M (the paper adds 10M internal
pairs). With the feature set written, on every host of the slice:

    python -m unialign_jax.train --config=stage1.py --workdir=runs/stage1 \
      --config.encoders.text=ENCODERS/text_encoder_3 \
      --config.encoders.tokenizer=ENCODERS/tokenizer_3 \
      --config.encoders.image=ENCODERS/vae
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = (("features/text_to_image_2m", 1.0),)
  # The paper trains the blocks and the MLP heads only; the authors' code, and
  # so the default, everything. The paper's choice:
  # config.optimizer.trainable = ("blocks/.*", "align_.*")
  return config
