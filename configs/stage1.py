"""Stage 1 of the paper: image-text pretraining, 80k steps at batch 256.

Pictures from captions and captions of pictures, on Text-to-Image-2M (2.3M
pairs, 423 GB). The paper adds 10M pairs of its own that are not public; others
can be had through `precompute --source=blip3o` (27M) or `folder`.

By formula at 40 % MFU, T5 in the step: 18.8 h on 64 TPU v5e,
8.1 h on 64 v5p, 4.0 h on 64 v6e, 3.7 h on 64 H100.

On every host of the slice, with the feature sets of `SOURCES` under
`data.root` (docs/stages.md says which command writes which):

    python -m unialign_jax.train --config=stage1.py --workdir=runs/stage1 \
      --config.data.root=gs://BUCKET/features \
      --config.encoders.text=SD3/text_encoder_3 \
      --config.encoders.tokenizer=SD3/tokenizer_3 \
      --config.encoders.image=SD3/vae

`--config=stage1.py:tiny` is the same stage for a CPU, see configs/variants.py.
"""

import ml_collections

from configs import base
from configs import variants

# Feature set, share of the steps, condition images of a record.
SOURCES = (("text_to_image_2m", 1.0, 0),)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = tuple((name, share) for name, share, _ in SOURCES)
  # Fits 64 chips of every TPU since v5e at this batch: docs/tpu.md.
  config.model.remat = "attention_qkv"
  # The paper trains the blocks and the MLP heads only; the authors' code, and
  # so the default, everything. The paper's choice:
  # config.optimizer.trainable = ("(dual_)?blocks/.*", "align_.*")
  return variants.apply(config, variant)
