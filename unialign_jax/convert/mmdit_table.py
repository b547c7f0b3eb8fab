"""The MMDiT: PyTorch names of the UniAlignment transformer <-> `mmdit.py`.

What SD3 has, carries SD3's names in diffusers; the rest (image and text
heads, null image, alignment adapters) those of the UniAlignment authors.
Dual Diffusion is the same without the adapters.
"""

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
# stream -> (modulation, q, k, v, out, q norm, k norm, feed-forward) in PyTorch
_STREAMS = {
  "image": (
    "norm1.linear",
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.norm_q",
    "attn.norm_k",
    "ff",
  ),
  "text": (
    "norm1_context.linear",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "attn.norm_added_q",
    "attn.norm_added_k",
    "ff_context",
  ),
}


def _dense(
  torch: str,
  flax: str,
  kernel: mapping.Transform | None = None,
  bias: mapping.Transform = mapping.SAME,
) -> Iterator[mapping.Rule]:
  kernel = kernel or mapping.linear()
  yield mapping.Rule(f"{torch}.weight", f"{flax}/kernel", kernel)
  yield mapping.Rule(f"{torch}.bias", f"{flax}/bias", bias)


def _stream(stream: str) -> Iterator[mapping.Rule]:
  """One stream of all joint blocks; layers are stacked on the Flax side."""
  modulation, q, k, v, out, q_norm, k_norm, mlp = (
    f"{_BLOCK}.{name}" for name in _STREAMS[stream]
  )
  flax = f"blocks/{stream}"
  yield from _dense(modulation, f"{flax}/modulation")
  for torch, name in ((q, "q"), (k, "k"), (v, "v")):
    yield from _dense(torch, f"{flax}/{name}", bias=mapping.FLAT)
  yield from _dense(out, f"{flax}/out", mapping.linear(2))
  yield mapping.Rule(f"{q_norm}.weight", f"{flax}/q_norm/scale")
  yield mapping.Rule(f"{k_norm}.weight", f"{flax}/k_norm/scale")
  yield from _dense(f"{mlp}.net.0.proj", f"{flax}/mlp_in")
  yield from _dense(f"{mlp}.net.2", f"{flax}/mlp_out")


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
    *_stream("image"),
    *_stream("text"),
    *_dense("image_norm_out.linear", "image_head/modulation"),
    *_dense("image_proj_out", "image_head/proj"),
    *_dense("text_proj_out", "text_head/proj"),
    *_dense("siglip_adapter_img.fc.0", "align_image/fc_in"),
    *_dense("siglip_adapter_img.fc.2", "align_image/fc_out"),
    *_dense("siglip_adapter_text.fc.0", "align_text/fc_in"),
    *_dense("siglip_adapter_text.fc.2", "align_text/fc_out"),
  ]
