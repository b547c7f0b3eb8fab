"""The Shapes model that comes with the package: every ability, in an hour.

    W=runs/shapes_wide
    python -m unialign_jax.shapes.build --world=wide --out=$W/features
    python -m unialign_jax.train --config=shapes_wide.py --workdir=$W/run

on two CPU cores; docs/shapes.md tells how it is put into the package. Beside
`shapes.py`: a wider network, a third of the scenes with several shapes, texts
that leave things out, and more steps of editing, maps and subjects.
"""

import ml_collections

from configs import shapes

FEATURES = "runs/shapes_wide/features"


def get_config() -> ml_collections.ConfigDict:
  config = shapes.get_config()
  config.model.update(width=128, align_hidden=128)
  config.optimizer.update(learning_rate=2e-3, warmup_steps=200, ema_decay=0.998)
  config.data.update(
    sources=(
      (f"{FEATURES}/train/text_to_image", 0.4),
      (f"{FEATURES}/train/edit", 0.25),
      (f"{FEATURES}/train/understanding", 0.15),
      (f"{FEATURES}/train/perception", 0.08),
      (f"{FEATURES}/train/personalise", 0.08),
      (f"{FEATURES}/train/personalise_multi", 0.04),
    ),
    batch_size=32,
  )
  config.train.update(steps=10_000, log_every=50, sample_every=5000)
  config.sample.sources = (
    f"{FEATURES}/validation/text_to_image",
    f"{FEATURES}/validation/edit",
  )
  return config
