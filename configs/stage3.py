"""Stage 3 of the paper: supervised fine-tuning, 30k steps at batch 256.

BLIP3o-60k and ShareGPT-4o-Image for pictures, LLaVA-OneVision for questions;
the paper gives no shares: these are this project's. About 400 GB of raw data
without the whole of LLaVA-OneVision.

By formula at 40 % MFU, T5 in the step: 7.4 h on 64 TPU v5e,
3.2 h on 64 v5p, 1.6 h on 64 v6e, 1.5 h on 64 H100.

On every host of the slice, with the feature sets of `SOURCES` under
`data.root` (docs/stages.md says which command writes which):

    python -m unialign_jax.train --config=stage3.py --workdir=runs/stage3 \
      --config.data.root=gs://BUCKET/features \
      --config.encoders.text=SD3/text_encoder_3 \
      --config.encoders.tokenizer=SD3/tokenizer_3 \
      --config.encoders.image=SD3/vae

`--config=stage3.py:tiny` is the same stage for a CPU, see configs/variants.py.
"""

import ml_collections

from configs import base
from configs import variants

# Feature set, share of the steps, condition images of a record.
SOURCES = (
  ("blip3o_60k", 0.30, 0),
  ("sharegpt4o_image", 0.20, 0),
  ("sharegpt4o_image_edit", 0.15, 1),
  ("llava_onevision", 0.35, 0),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = tuple((name, share) for name, share, _ in SOURCES)
  config.train.steps = 30_000
  config.train.init_from = "runs/stage2"
  # Fits 64 chips of every TPU since v5e at this batch: docs/tpu.md.
  config.model.remat = "attention_qkv"
  # The paper trains the blocks and the MLP heads only; the authors' code, and
  # so the default, everything. The paper's choice:
  # config.optimizer.trainable = ("(dual_)?blocks/.*", "align_.*")
  return variants.apply(config, variant)
