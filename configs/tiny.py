"""The smallest run that has every part: tests train it for a few steps.

    python -m unialign_jax.shapes.build --out=FEATURES --train=64 \
      --validation=8 --tasks=text_to_image,edit
    python -m unialign_jax.train --config=tiny.py --workdir=runs/tiny \
      --config.data.sources="(('FEATURES/train/text_to_image', 1.0),)"
"""

import ml_collections

from configs import shapes


def get_config() -> ml_collections.ConfigDict:
  config = shapes.get_config()
  config.model.update(
    width=32,
    depth=2,
    num_heads=2,
    align_depth=1,
    align_hidden=16,
    scan_layers=True,
  )
  config.data.batch_size = 8
  config.optimizer.warmup_steps = 2
  config.train.update(steps=6, log_every=1, checkpoint_every=3, sample_every=0)
  config.sample.update(per_source=2, steps=2, text_steps=2)
  return config
