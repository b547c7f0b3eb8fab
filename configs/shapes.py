"""The Shapes world on two CPU cores: every ability, in minutes.

    bash launch/quickstart.sh

builds the world, writes the features that this file names, and trains it:

    python -m unialign_jax.shapes.build --out=runs/shapes/features
    python -m unialign_jax.train --config=shapes.py --workdir=runs/shapes/run
    python -m unialign_jax.shapes.report --workdir=runs/shapes/run

Pictures are 64 x 64, so 8 x 8 latents, 16 image tokens and 24 text tokens.
"""

import ml_collections

from configs import base
from unialign_jax.shapes import semantics
from unialign_jax.shapes import weights

FEATURES = "runs/shapes/features"


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.model.update(
    width=96,
    depth=6,
    num_heads=2,
    text_dim=96,
    vocab_size=230,
    pos_embed_size=4,
    pos_embed_base=4,
    null_image_tokens=4,
    align_depth=2,
    align_hidden=96,
    semantic_dim=semantics.WIDTH,
    # Six blocks in a Python loop run a fifth faster on a CPU than scanned.
    scan_layers=False,
    dtype="float32",
  )
  config.diffusion.flow_antithetic = True
  # Ten thousand times less data than the paper's: text has to learn faster.
  config.loss.text_weight = 0.5
  config.optimizer.update(
    learning_rate=3e-3,
    warmup_steps=100,
    schedule="cosine",
    b2=0.99,
    ema_decay=0.99,
  )
  config.data.update(
    sources=(
      (f"{FEATURES}/train/text_to_image", 0.6),
      (f"{FEATURES}/train/edit", 0.15),
      (f"{FEATURES}/train/understanding", 0.1),
      (f"{FEATURES}/train/perception", 0.075),
      (f"{FEATURES}/train/personalise", 0.075),
    ),
    batch_size=24,
    num_threads=1,
    resolution=64,
    text_length=24,
    mask_id=229,
  )
  config.encoders.update(
    text=str(weights.TEXT_ENCODER),
    tokenizer=str(weights.TOKENIZER),
    image=str(weights.VAE),
  )
  config.mesh.fsdp = 1
  config.train.update(
    steps=4400, log_every=25, checkpoint_every=1000, sample_every=2000
  )
  config.sample.update(
    sources=(
      f"{FEATURES}/validation/text_to_image",
      f"{FEATURES}/validation/edit",
    ),
    guidance=2.0,
    steps=20,
    shift=1.0,
    text_steps=24,
    text_temperature=0.3,
  )
  return config
