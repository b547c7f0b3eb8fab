"""SD3's pooled text as a constant: that of the empty prompt.

SD3 adds an MLP of the pooled CLIP embeddings to the timestep embedding, after
its last linear layer. For one prompt this is a constant vector, so it goes
into the bias of that layer, and modulation is SD3's own for this prompt.
CLIP runs in PyTorch, once.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from unialign_jax.convert import read
from unialign_jax.convert import sources

# Subfolders of an SD3 pipeline: CLIP-L and CLIP-G with their tokenizers.
ENCODERS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
TOKENIZER_FILES = ("vocab.json", "merges.txt")
_LENGTH = 77  # tokens, as SD3 pads CLIP's


def pooled_empty_prompt(
  folders: Sequence[tuple[pathlib.Path, pathlib.Path]],
) -> np.ndarray:
  """Pooled embeddings of "" by all encoders, joined: fp32 `[P]`.

  Args:
    folders: of encoder (config.json, safetensors) and tokenizer, in order.

  Raises:
    ValueError: PyTorch is missing, or a folder holds no such encoder.
  """
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      "--fold-pooled runs CLIP in PyTorch, which is not installed; pip install"
      " torch, or leave the flag away."
    ) from error
  import transformers

  parts = []
  for encoder, tokenizer in folders:
    try:
      words = transformers.CLIPTokenizer.from_pretrained(tokenizer)
      clip = transformers.CLIPTextModelWithProjection.from_pretrained(
        encoder, dtype=torch.float32, use_safetensors=True
      )
    except (OSError, ValueError, RuntimeError) as error:
      raise ValueError(
        f"--fold-pooled: {encoder} and {tokenizer}: got {error}; expected a"
        " CLIP text encoder with projection and its tokenizer, as in SD3."
      ) from error
    ids = words(
      "", padding="max_length", max_length=_LENGTH, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
      parts.append(clip.eval()(ids).text_embeds[0].numpy())
  return np.concatenate(parts)


def fold(weights: read.View, pooled_P: np.ndarray) -> read.View:
  """Weights whose timestep embedding holds the pooled text's part.

  Raises:
    ValueError: no pooled-text MLP there, or one for other encoders.
  """
  names = [
    f"{sources.POOLED}.linear_{i}.{kind}"
    for i in (1, 2)
    for kind in ("weight", "bias")
  ]
  if lacking := [
    name for name in (*names, sources.TIME_BIAS) if name not in weights
  ]:
    raise ValueError(
      f"--fold-pooled: the weights lack {lacking}; only SD3 and SD3.5 have"
      " pooled text. Leave the flag away."
    )
  wanted = weights.shapes[names[0]][1:]
  if wanted != pooled_P.shape:
    raise ValueError(
      f"--fold-pooled: the encoders give {pooled_P.shape[0]} numbers, the"
      f" transformer expects {wanted[0]}; give the CLIP encoders of this model."
    )
  w1, b1, w2, b2 = (np.asarray(weights[name], np.float32) for name in names)
  hidden = w1 @ pooled_P + b1
  constant = w2 @ (hidden / (1 + np.exp(-hidden))) + b2

  def add(bias: np.ndarray) -> np.ndarray:
    return bias.astype(np.float32) + constant

  return read.View(
    weights, {sources.TIME_BIAS: read.Derived(sources.TIME_BIAS, add)}
  )
