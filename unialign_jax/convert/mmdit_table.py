"""The MMDiT: PyTorch names of the UniAlignment transformer <-> `mmdit.py`.

What SD3 has, carries SD3's names in diffusers; the rest (image and text
heads, null image, alignment adapters) those of the UniAlignment authors.
Dual Diffusion is the same without the adapters. The first blocks of
SD3.5-medium are another stack on the Flax side, and count on in PyTorch.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from unialign_jax.convert import mapping
from unialign_jax.models import mmdit
from unialign_jax.models import positions

POSITIONS = "pos_embed.pos_embed"
# Published tables are stored in half precision; its step at 1.0 is 1e-3.
_POSITION_TOLERANCE = 2e-3
_BLOCK = "transformer_blocks.{i}"
_TIME = "time_text_embed.timestep_embedder"
# (q, k, v, out, q norm, k norm) in PyTorch
_ALONE = ("to_q", "to_k", "to_v", "to_out.0", "norm_q", "norm_k")
_CONTEXT = (
  "add_q_proj",
  "add_k_proj",
  "add_v_proj",
  "to_add_out",
  "norm_added_q",
  "norm_added_k",
)


def _dense(
  torch: str,
  flax: str,
  kernel: mapping.Transform | None = None,
  bias: mapping.Transform = mapping.SAME,
) -> Iterator[mapping.Rule]:
  kernel = kernel or mapping.linear()
  yield mapping.Rule(f"{torch}.weight", f"{flax}/kernel", kernel)
  yield mapping.Rule(f"{torch}.bias", f"{flax}/bias", bias)


def _attention(
  torch: str, names: tuple[str, ...], flax: str
) -> Iterator[mapping.Rule]:
  q, k, v, out, q_norm, k_norm = (f"{torch}.{name}" for name in names)
  for projection, name in ((q, "q"), (k, "k"), (v, "v")):
    yield from _dense(projection, f"{flax}/{name}", bias=mapping.FLAT)
  yield from _dense(out, f"{flax}/out", mapping.linear(2))
  yield mapping.Rule(f"{q_norm}.weight", f"{flax}/q_norm/scale")
  yield mapping.Rule(f"{k_norm}.weight", f"{flax}/k_norm/scale")


def _stack(flax: str) -> Iterator[mapping.Rule]:
  """One stack of joint blocks; their layers are one leaf on the Flax side."""
  for stream, suffix, names in (
    ("image", "", _ALONE),
    ("text", "_context", _CONTEXT),
  ):
    into = f"{flax}/{stream}"
    yield from _dense(f"{_BLOCK}.norm1{suffix}.linear", f"{into}/modulation")
    yield from _attention(f"{_BLOCK}.attn", names, into)
    mlp = f"{_BLOCK}.ff{suffix}.net"
    yield from _dense(f"{mlp}.0.proj", f"{into}/mlp_in")
    yield from _dense(f"{mlp}.2", f"{into}/mlp_out")


def _blocks(config: mmdit.MMDiTConfig) -> Iterator[mapping.Rule]:
  """All joint blocks: those with a second attention first, then the others."""
  dual_depth = config.dual_attention_depth
  if not dual_depth:
    yield from _stack("blocks")
    return
  yield from _stack("dual_blocks")
  yield from _attention(f"{_BLOCK}.attn2", _ALONE, "dual_blocks/image/attn2")
  for rule in _stack("blocks"):
    yield dataclasses.replace(rule, first=dual_depth)


def buffers(config: mmdit.MMDiTConfig) -> dict[str, np.ndarray]:
  """What PyTorch stores beside parameters: the position table, `[1, T, D]`."""
  table = positions.sincos_table(
    config.width, config.pos_embed_size, config.pos_embed_base
  )
  return {POSITIONS: table.reshape(1, -1, config.width)}


def _positions_ignored(config: mmdit.MMDiTConfig) -> mapping.Ignored:
  """The position table is computed here; the stored one must be the same."""

  def check(name: str, stored: np.ndarray) -> str:
    want = buffers(config)[name]
    keys = "config.model.pos_embed_size or config.model.pos_embed_base"
    if stored.shape != want.shape:
      return f"got shape {stored.shape}, expected {want.shape}; change {keys}."
    apart = np.abs(np.asarray(stored, np.float32) - want).max()
    if not apart <= _POSITION_TOLERANCE:
      return (
        f"got a table up to {apart:.3g} from SD3's sines, expected at most "
        f"{_POSITION_TOLERANCE}; change {keys}."
      )
    return ""

  return mapping.Ignored(
    POSITIONS.replace(".", r"\."), "fixed sines, computed by the model", check
  )


def rules(
  config: mmdit.MMDiTConfig,
) -> list[mapping.Rule | mapping.Ignored]:
  """The table for a network of this shape.

  Export is `{**mapping.to_torch(rules(config), params), **buffers(config)}`.
  """
  patches = mapping.patches(config.patch_size)
  return [
    *_dense("pos_embed.proj", "patch_embed", patches),
    _positions_ignored(config),
    *_dense("context_embedder", "context_embed"),
    *_dense(f"{_TIME}.linear_1", "time_embed/linear_1"),
    *_dense(f"{_TIME}.linear_2", "time_embed/linear_2"),
    mapping.Rule("null_image_embd", "null_image_embed"),
    *_blocks(config),
    *_dense("image_norm_out.linear", "image_head/modulation"),
    *_dense("image_proj_out", "image_head/proj"),
    *_dense("text_proj_out", "text_head/proj"),
    *_dense("siglip_adapter_img.fc.0", "align_image/fc_in"),
    *_dense("siglip_adapter_img.fc.2", "align_image/fc_out"),
    *_dense("siglip_adapter_text.fc.0", "align_text/fc_in"),
    *_dense("siglip_adapter_text.fc.2", "align_text/fc_out"),
  ]
