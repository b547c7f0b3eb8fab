"""How a data set becomes a feature set: every key, its unit, its source.

    python -m unialign_jax.precompute --config=features.py --source=anyedit \
      --root=DATA --out=FEATURES/anyedit \
      --config.encoders.text=SD3/text_encoder_3 \
      --config.encoders.tokenizer=SD3/tokenizer_3 \
      --config.encoders.image=SD3/vae

`--config=features.py:tiny` writes for `stageN.py:tiny`, on a CPU.

What training must agree with (encoders, text_length, resolution) has the same
name in `configs/base.py`; training refuses a set that does not fit.
"""

import ml_collections

from configs import tiny
from configs import variants


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = ml_collections.ConfigDict()

  config.encoders = ml_collections.ConfigDict()
  encoders = config.encoders
  encoders.text = ""  # T5: a folder, or OWNER/MODEL/FOLDER on the hub
  encoders.tokenizer = ""  # its tokenizer: folder or hub name
  encoders.mask_embedding = ""  # file with MASK's row (Dual Diffusion); or none
  encoders.text_dtype = "bfloat16"  # T5's parameters and activations
  encoders.image = ""  # VAE: folder or hub name
  encoders.image_dtype = "float32"  # VAE's parameters and activations
  encoders.semantic = "qwen:Qwen/Qwen2.5-VL-7B-Instruct"  # paper; or "pooled"
  encoders.semantic_dtype = "bfloat16"  # as Qwen2.5-VL is published
  encoders.semantic_grid = 0  # n: h_image by patch, n x n tokens; 0: averaged
  encoders.pooled_dim = 3584  # E with "pooled", random projections

  config.pictures = ml_collections.ConfigDict()
  config.pictures.resolution = 512  # side of a picture, pixels (paper)
  config.pictures.policy = "crop"  # or "pad" or "squash": how it gets square

  config.writer = ml_collections.ConfigDict()
  writer = config.writer
  writer.text_length = 256  # L, tokens of prompt and caption (paper)
  writer.draws = 0  # masked draws stored a caption; 0: text features online
  writer.feature_dtype = "bfloat16"  # of stored text features; "int8", ...
  writer.seed = 0  # of the masked draws
  writer.shard_size = 1000  # items a shard: what a killed worker does again
  writer.batch_size = 32  # samples an encoder call
  writer.processes = 8  # decode processes a worker; 0: in the worker itself
  writer.chunk = 16  # consecutive items a decode process takes at a time
  writer.max_rejected = 100  # items without a record that a worker may meet,
  writer.max_rejected_fraction = 0.05  # and this share of those it read
  return _shrunk(config) if variants.is_tiny(variant) else config


def _shrunk(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """For a CPU and `stageN.py:tiny`: the small encoders of the package."""
  small = tiny.get_config()
  config.encoders.update(
    text=small.encoders.text,
    tokenizer=small.encoders.tokenizer,
    text_dtype="float32",
    image=small.encoders.image,
    semantic="pooled",
    pooled_dim=small.model.semantic_dim,
  )
  config.pictures.update(resolution=small.data.resolution)
  config.writer.update(
    text_length=small.data.text_length,
    shard_size=100,
    batch_size=8,
    processes=0,
  )
  return config
