"""What `python -m unialign_jax.bench train` measures by default: two CPU cores.

A quarter of the paper's width, half of its depth, a quarter of its picture
and of its text, but all of its vocabulary, its T5's width and its alignment
heads, so that no part of the step is missing. Text features are stored, so T5
is not in the step. The batch is made on the spot: no feature set is read.

    python -m unialign_jax.bench train --config=bench.py --against=torch

`--config=bench.py:small` is a third of that width and depth without the large
vocabulary, for `python -m unialign_jax.bench growth`, which takes many steps
of many sizes.
"""

import ml_collections

from configs import base

KNOWN = ("", "small")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  if variant not in KNOWN:
    raise ValueError(
      f"--config: got variant {variant!r}, expected one of {KNOWN}, as in"
      " bench.py:small."
    )
  config = base.get_config()
  config.model.update(
    width=384,
    depth=12,
    num_heads=6,
    vocab_size=32128,  # rows of T5's table, a multiple of 128
    # On CPUs a loop over the blocks is faster, once it is compiled.
    scan_layers=False,
    dtype="float32",
  )
  # From the first step on every weight moves, which the comparison checks.
  config.optimizer.update(learning_rate=3e-4, warmup_steps=0)
  config.data.update(
    sources=(("made", 1.0),),  # a name must be there; it is never opened
    batch_size=8,
    resolution=256,  # 32 x 32 latents, 256 image tokens
    text_length=64,
    text_features="stored",
  )
  if variant == "small":
    config.model.update(
      width=128,
      depth=4,
      num_heads=2,
      text_dim=256,
      vocab_size=512,
      align_depth=2,
      align_hidden=128,
      semantic_dim=128,
      scan_layers=True,  # many programs: what counts is compilation
    )
    config.data.update(resolution=128, mask_id=511)
  return config
