"""Variants of the stage files, asked for as `--config=stage2.py:tiny`."""

import ml_collections

from configs import tiny

KNOWN = ("", "tiny")


def is_tiny(variant: str) -> bool:
  """Whether a file is asked for its small variant.

  Raises:
    ValueError: an unknown variant.
  """
  if variant not in KNOWN:
    raise ValueError(
      f"--config: got variant {variant!r}, expected one of {KNOWN}, as in"
      " stage2.py:tiny."
    )
  return variant == "tiny"


def apply(
  config: ml_collections.ConfigDict, variant: str
) -> ml_collections.ConfigDict:
  """A stage as it is, or shrunk for a CPU.

  "tiny" keeps the stage's data, losses and learning rate, and takes the
  network, the shipped small encoders, the picture size and the text length of
  `configs/tiny.py`: what `precompute --config=features.py:tiny` writes for.

  Raises:
    ValueError: an unknown variant.
  """
  if is_tiny(variant):
    small = tiny.get_config()
    for group in ("model", "encoders", "sample"):
      config[group] = small[group]
    config.sample.sources = ()
    for key in (
      "batch_size",
      "resolution",
      "latent_factor",
      "text_length",
      "mask_id",
      "num_threads",
      "prefetch_batches",
    ):
      config.data[key] = small.data[key]
    config.optimizer.warmup_steps = 2
    config.train.update(
      steps=20, log_every=1, checkpoint_every=10, sample_every=0
    )
  return config
