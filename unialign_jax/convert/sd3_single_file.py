"""SD3's single-file checkpoints: original names -> those of diffusers.

The original fuses queries, keys and values into one matrix, and lets the shift
stand before the scale where diffusers has it after: in the final layer and in
the context modulation of the last block.
"""

import functools
import re
from collections.abc import Iterator

import numpy as np

from unialign_jax.convert import read

PREFIX = "model.diffusion_model."
# What else such a file may hold, and why it is not needed.
OTHER_PARTS = {
  "first_stage_model.": "the autoencoder: config.encoders.image",
  "text_encoders.": "the text encoders: config.encoders.text",
}
# Original -> diffusers, each with .weight and .bias.
_OUTSIDE = {
  "x_embedder.proj": "pos_embed.proj",
  "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
  "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
  "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
  "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
  "context_embedder": "context_embedder",
  "final_layer.linear": "proj_out",
  "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_BLOCK = {
  "x_block.adaLN_modulation.1": "norm1.linear",
  "x_block.attn.proj": "attn.to_out.0",
  "x_block.attn.ln_q": "attn.norm_q",
  "x_block.attn.ln_k": "attn.norm_k",
  "x_block.attn2.proj": "attn2.to_out.0",
  "x_block.attn2.ln_q": "attn2.norm_q",
  "x_block.attn2.ln_k": "attn2.norm_k",
  "x_block.mlp.fc1": "ff.net.0.proj",
  "x_block.mlp.fc2": "ff.net.2",
  "context_block.adaLN_modulation.1": "norm1_context.linear",
  "context_block.attn.proj": "attn.to_add_out",
  "context_block.attn.ln_q": "attn.norm_added_q",
  "context_block.attn.ln_k": "attn.norm_added_k",
  "context_block.mlp.fc1": "ff_context.net.0.proj",
  "context_block.mlp.fc2": "ff_context.net.2",
}
_FUSED = {
  "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
  "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
  "context_block.attn.qkv": (
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
  ),
}
_IN_BLOCK = re.compile(r"joint_blocks\.(\d+)\.(.+)\.(weight|bias)")


def is_original(weights: read.Streamed) -> bool:
  """Whether these are original names, with or without the usual prefix."""
  first = "joint_blocks.0.x_block.attn.qkv.weight"
  return first in weights or PREFIX + first in weights


def depth(weights: read.Streamed) -> int:
  """How many blocks the file has."""
  numbers = (_IN_BLOCK.search(name) for name in weights)
  return 1 + max(int(found[1]) for found in numbers if found)


def in_diffusers_names(
  weights: read.Streamed,
) -> tuple[read.View, dict[str, str]]:
  """The transformer under diffusers' names, and what was left out with reasons.

  A tensor that the tables do not know keeps its name, and is then unexpected.
  """
  left_out, kept = {}, []
  for name in weights:
    part = next((p for p in OTHER_PARTS if name.startswith(p)), None)
    if part is None:
      kept.append(name)
    else:
      left_out[f"{part}*"] = OTHER_PARTS[part]
  last = depth(weights) - 1
  derived = {}
  for name in kept:
    derived.update(_derived(name, last))
  return read.View(weights.subset(kept), derived), left_out


def _derived(name: str, last: int) -> Iterator[tuple[str, read.Derived]]:
  """What diffusers has for one original tensor: one, three, or as it is."""
  original = name.removeprefix(PREFIX)
  if original == "pos_embed":
    yield "pos_embed.pos_embed", read.Derived(name)
    return
  stem, _, kind = original.rpartition(".")
  found = _IN_BLOCK.fullmatch(original)
  if not found:
    renamed = f"{_OUTSIDE[stem]}.{kind}" if stem in _OUTSIDE else name
    swapped = stem == "final_layer.adaLN_modulation.1"
    yield renamed, _swapped(name) if swapped else read.Derived(name)
    return
  block, inner = f"transformer_blocks.{found[1]}", found[2]
  for third, torch in enumerate(_FUSED.get(inner, ())):
    yield f"{block}.{torch}.{kind}", _third(name, third)
  if inner in _BLOCK:
    swapped = int(found[1]) == last and inner.startswith("context_block.adaLN")
    yield (
      f"{block}.{_BLOCK[inner]}.{kind}",
      _swapped(name) if swapped else read.Derived(name),
    )
  elif inner not in _FUSED:
    yield name, read.Derived(name)


def _third(name: str, i: int) -> read.Derived:
  return read.Derived(
    name,
    lambda x: x[i * (len(x) // 3) : (i + 1) * (len(x) // 3)],
    lambda shape: (shape[0] // 3, *shape[1:]),
  )


def _swapped(name: str) -> read.Derived:
  """Shift and scale -> scale and shift."""
  return read.Derived(name, lambda x: np.roll(x, len(x) // 2, axis=0))


@functools.cache
def _originals() -> dict[str, str]:
  """diffusers -> original, for messages; inside of a block, then outside."""
  inside = {torch: original for original, torch in _BLOCK.items()}
  for original, parts in _FUSED.items():
    inside |= dict.fromkeys(parts, original)
  outside = {torch: original for original, torch in _OUTSIDE.items()}
  return inside | outside


def with_original_names(message: str) -> str:
  """A message about diffusers' names, with the file's own beside each."""

  def add(found: re.Match[str]) -> str:
    block, inner, kind = found.groups()
    original = _originals().get(inner)
    if original is None:
      return found[0]
    at = f"joint_blocks.{block}." if block else ""
    return f"{found[0]} ({at}{original}.{kind})"

  return re.sub(
    r"(?:transformer_blocks\.(\d+)\.)?([\w.]+)\.(weight|bias)", add, message
  )
