"""Stage 2 of the paper: multi-task joint pretraining, 80k steps at batch 256.

Editing, perception and personalisation beside text-to-image; every step has
one task. The paper names AnyEdit, MagicBrush, SeedEdit (no release is public:
SEED-Data-Edit stands in), OmniEdit, PromptFix, UniWorld and GPT-4o pictures,
and neither shares nor captions: the shares are this project's, targets without
caption get one from `python -m unialign_jax.recaption`. Subjects200K, which the
paper does not name, brings subjects. About 4 TB of raw data.

By formula at 40 % MFU, T5 in the step: 23.3 h on 64 TPU v5e,
10.0 h on 64 v5p, 5.0 h on 64 v6e, 4.6 h on 64 H100.

On every host of the slice, with the feature sets of `SOURCES` under
`data.root` (docs/stages.md says which command writes which):

    python -m unialign_jax.train --config=stage2.py --workdir=runs/stage2 \
      --config.data.root=gs://BUCKET/features \
      --config.encoders.text=SD3/text_encoder_3 \
      --config.encoders.tokenizer=SD3/tokenizer_3 \
      --config.encoders.image=SD3/vae

`--config=stage2.py:tiny` is the same stage for a CPU, see configs/variants.py.
"""

import ml_collections

from configs import base
from configs import variants

# Feature set, share of the steps, condition images of a record.
SOURCES = (
  ("text_to_image_2m", 0.35, 0),
  ("anyedit", 0.12, 1),
  ("anyedit_visual", 0.03, 2),
  ("magicbrush", 0.02, 1),
  ("seed_data_edit_1", 0.02, 1),
  ("seed_data_edit_2", 0.01, 1),
  ("seed_data_edit_3", 0.01, 1),
  ("omniedit", 0.12, 1),
  ("promptfix", 0.06, 1),
  ("uniworld_edit", 0.06, 1),
  ("uniworld_perception", 0.10, 1),
  ("uniworld_extract", 0.02, 1),
  ("sharegpt4o_image_edit", 0.04, 1),
  ("subjects200k", 0.04, 1),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.sources = tuple((name, share) for name, share, _ in SOURCES)
  config.train.init_from = "runs/stage1"
  # Fits 64 chips of every TPU since v5e at this batch: docs/tpu.md.
  config.model.remat = "attention_qkv"
  # The paper trains the blocks and the MLP heads only; the authors' code, and
  # so the default, everything. The paper's choice:
  # config.optimizer.trainable = ("(dual_)?blocks/.*", "align_.*")
  return variants.apply(config, variant)
