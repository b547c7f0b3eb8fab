"""Published encoder classes in miniature, saved as their publishers save them.

Random weights of the very classes that SD3 and Qwen2.5-VL are published in,
written by `save_pretrained` in shards, in about a second each. Needs torch,
transformers and, for the VAE, diffusers.
"""

import json
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import diffusers
import tokenizers
import torch
import transformers
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers

from unialign_jax.shapes import tokenizer as shapes_tokenizer

WORDS = ("a", "red", "circle", "blue", "square", "make", "it", "picture", "of")
QWEN_SPECIALS = (
  "<|endoftext|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|vision_start|>",
  "<|vision_end|>",
  "<|vision_pad|>",
  "<|image_pad|>",
  "<|video_pad|>",
)
T5_WIDTH = 24
LATENT_CHANNELS = 4
DOWNSAMPLING = 2
QWEN_WIDTH = 32


def save_t5(
  folder: pathlib.Path, *, dtype: torch.dtype = torch.float32
) -> pathlib.Path:
  """A T5 v1.1 encoder (features `T5_WIDTH` wide) and its tokenizer.

  Both in one folder, as T5 itself is published: pass it twice to
  `TextEncoder.load`.
  """
  tokenizer = shapes_tokenizer.build(WORDS)
  config = transformers.T5Config(
    vocab_size=tokenizer.get_vocab_size() + 28,  # padded, as in T5
    d_model=T5_WIDTH,
    d_kv=6,
    d_ff=40,
    num_layers=3,
    num_heads=4,
    feed_forward_proj="gated-gelu",
  )
  model = _random(folder, transformers.T5EncoderModel, config).to(dtype)
  model.save_pretrained(folder, max_shard_size="16KB")
  shapes_tokenizer.save(tokenizer, folder)
  return folder


def save_vae(folder: pathlib.Path) -> pathlib.Path:
  """An SD3-like autoencoder: 1 latent of `LATENT_CHANNELS` for 2 x 2 pixels."""
  model = _random(
    folder,
    diffusers.AutoencoderKL,
    block_out_channels=(8, 16),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=LATENT_CHANNELS,
    norm_num_groups=4,
    scaling_factor=1.5305,
    shift_factor=0.0609,
    use_quant_conv=False,
    use_post_quant_conv=False,
  )
  model.save_pretrained(folder, max_shard_size="40KB")
  return folder


def save_qwen(
  folder: pathlib.Path, *, dtype: torch.dtype = torch.float32
) -> pathlib.Path:
  """A Qwen2.5-VL (`QWEN_WIDTH` wide), its tokenizer and picture settings.

  Patches of 4 x 4 pixels, merged by 2 x 2: 16 tokens for 32 x 32 pixels.
  """
  vocab_size = _save_qwen_tokenizer(folder)
  config = transformers.Qwen2_5_VLConfig(
    text_config={
      "vocab_size": vocab_size + 3,  # padded, as published
      "hidden_size": QWEN_WIDTH,
      "intermediate_size": 48,
      "num_hidden_layers": 1,
      "num_attention_heads": 2,
      "num_key_value_heads": 1,
      "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [2, 3, 3],
      },
    },
    vision_config={
      "depth": 3,
      "hidden_size": 24,
      "intermediate_size": 36,
      "num_heads": 2,
      "patch_size": 4,
      "window_size": 16,
      "fullatt_block_indexes": [1],
      "out_hidden_size": QWEN_WIDTH,
    },
  )
  qwen = transformers.Qwen2_5_VLForConditionalGeneration
  model = _random(folder, qwen, config).to(dtype)
  model.save_pretrained(folder, max_shard_size="16KB")
  settings = {  # the published file, for patches of 4
    "min_pixels": 64,
    "max_pixels": 4096,
    "patch_size": 4,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
  }
  path = folder / "preprocessor_config.json"
  path.write_text(json.dumps(settings, indent=2))
  return folder


def _save_qwen_tokenizer(folder: pathlib.Path) -> int:
  """Byte-level pairs, a few of them merged; returns the vocabulary's size."""
  pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
  merges = [("r", "e"), ("re", "d"), ("c", "i"), ("b", "l"), ("\u0120", "a")]
  vocabulary = [*pieces, *(a + b for a, b in merges)]
  tokenizer = tokenizers.Tokenizer(
    models.BPE({p: i for i, p in enumerate(vocabulary)}, merges)
  )
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_special_tokens(list(QWEN_SPECIALS))
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(folder / "tokenizer.json"))
  config = {
    "tokenizer_class": "Qwen2Tokenizer",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "model_max_length": 1024,
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return tokenizer.get_vocab_size()


def _random(
  folder: pathlib.Path,
  make: Callable[..., torch.nn.Module],
  *args: Any,
  **kwargs: Any,
) -> torch.nn.Module:
  """Noise on every parameter: fresh biases and norms are too regular.

  The weights depend on the folder's name and nothing else.
  """
  with torch.random.fork_rng(), torch.no_grad():
    torch.manual_seed(zlib.crc32(folder.name.encode()))
    model = make(*args, **kwargs)
    for parameter in model.parameters():
      parameter.add_(0.2 * torch.randn(parameter.shape))
  return model.eval()
