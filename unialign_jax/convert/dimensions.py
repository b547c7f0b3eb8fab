"""The shape of a network, read off its published tensors and config.json."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from unialign_jax.convert import mmdit_table
from unialign_jax.convert import read
from unialign_jax.models import mmdit

_SD3_HEAD = 64  # width of a head wherever no file says otherwise
_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")
_FIRST = "transformer_blocks.0"
_NEEDED = (
  "pos_embed.proj.weight",
  "context_embedder.weight",
  f"{_FIRST}.ff.net.0.proj.weight",
)


def of(
  weights: read.View, described: Mapping[str, Any], defaults: dict[str, Any]
) -> mmdit.MMDiTConfig:
  """The config of the network that these weights are of.

  Args:
    weights: under the names of `mmdit_table`.
    described: config.json beside them; empty for a single file.
    defaults: `config.model` for what no tensor tells.

  Raises:
    ValueError: they are no MMDiT's, or not those that config.json describes,
      with every difference.
  """
  if lacking := [name for name in _NEEDED if name not in weights]:
    raise ValueError(
      f"The weights lack {lacking}, expected a whole SD3-like transformer;"
      f" found names such as {list(weights)[:3]}. Check --path and --source."
    )
  shapes = weights.shapes
  width, text_dim = shapes["context_embedder.weight"]
  _, channels, patch, _ = shapes["pos_embed.proj.weight"]
  found = {_BLOCK.match(name) for name in weights}
  depth = 1 + max(int(match[1]) for match in found if match)
  dual = [i for i in range(depth) if _block(i, "attn2.to_q.weight") in weights]
  size, base = _positions(weights, described, width, patch)
  facts = {
    "in_channels": channels,
    "patch_size": patch,
    "width": width,
    "depth": depth,
    "num_heads": _num_heads(weights, described, width),
    "mlp_ratio": shapes[f"{_FIRST}.ff.net.0.proj.weight"][0] // width,
    "text_dim": text_dim,
    "pos_embed_size": size,
    "pos_embed_base": base,
    "qk_norm": _block(0, "attn.norm_q.weight") in weights,
    "align_depth": min(
      described.get("align_depth", defaults["align_depth"]), depth
    ),
    "scan_layers": True,
  }
  if dual != list(range(len(dual))):
    raise ValueError(
      f"dual_attention_layers: got {dual}, expected the first blocks without a"
      " gap, as in SD3.5-medium; config.model.dual_attention_depth can say no"
      " other choice."
    )
  if dual:
    facts["dual_attention_depth"] = len(dual)
  for key, name, axis in (
    ("vocab_size", "text_proj_out.weight", 0),
    ("null_image_tokens", "null_image_embd", 1),
    ("align_hidden", "siglip_adapter_img.fc.0.weight", 0),
    ("semantic_dim", "siglip_adapter_img.fc.2.weight", 0),
  ):
    if name in weights:
      facts[key] = shapes[name][axis]
  _check(facts, dual, described)
  return mmdit.MMDiTConfig(**defaults | facts)


def _block(i: int, name: str) -> str:
  return f"transformer_blocks.{i}.{name}"


def _num_heads(
  weights: read.View, described: Mapping[str, Any], width: int
) -> int:
  """As config.json says, else by the q norm's width, else SD3's."""
  if "num_attention_heads" in described:
    return described["num_attention_heads"]
  norm = _block(0, "attn.norm_q.weight")
  return width // (weights.shapes[norm][0] if norm in weights else _SD3_HEAD)


def _positions(
  weights: read.View, described: Mapping[str, Any], width: int, patch: int
) -> tuple[int, int]:
  """Side and base grid of the position table.

  The stored table wins over `sample_size`, as in diffusers. Its second token
  is one column further than the first: an angle of base / size.
  """
  if mmdit_table.POSITIONS in weights:
    table = np.asarray(weights[mmdit_table.POSITIONS], np.float32)
    size = math.isqrt(table.shape[1])
    sine, cosine = table[0, 1, 0], table[0, 1, width // 4]
    return size, round(size * math.atan2(sine, cosine))
  try:
    return described["pos_embed_max_size"], described["sample_size"] // patch
  except KeyError as error:
    raise ValueError(
      f"Neither {mmdit_table.POSITIONS!r} nor {error} in config.json tells the"
      " position table; fetch the model again."
    ) from error


def _check(
  facts: Mapping[str, Any], dual: list[int], described: Mapping[str, Any]
) -> None:
  """Compares the tensors with config.json, where there is one."""
  width = facts["width"]
  says = dict(described)
  says["qk_norm"] = says.get("qk_norm") or None
  says["dual_attention_layers"] = list(says.get("dual_attention_layers") or ())
  wanted = {
    "num_layers": facts["depth"],
    "attention_head_dim": width // facts["num_heads"],
    "caption_projection_dim": width,
    "joint_attention_dim": facts["text_dim"],
    "patch_size": facts["patch_size"],
    "in_channels": facts["in_channels"],
    "out_channels": facts["in_channels"],
    "pos_embed_max_size": facts["pos_embed_size"],
    "vocab_size": facts.get("vocab_size"),
    "qk_norm": "rms_norm" if facts["qk_norm"] else None,
    "dual_attention_layers": dual,
  }
  problems = [
    f"config.json has {key} = {says[key]!r}, the tensors {value!r}"
    for key, value in wanted.items()
    if described and says.get(key) is not None and says[key] != value
    if not (key == "vocab_size" and value is None)
  ]
  if facts["width"] % facts["num_heads"]:
    problems.append(
      f"a width of {width} does not divide into {facts['num_heads']} heads"
    )
  if problems:
    listed = "\n  ".join(problems)
    raise ValueError(
      f"config.json and weights are of different networks:\n  {listed}\nFetch"
      " both from the same model."
    )
