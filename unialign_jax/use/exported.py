"""Folders in diffusers layout, read for use: what `export` writes, and hub ids.

The alignment heads are left out: only training has a use for them, and a
folder for Dual Diffusion holds none.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unialign_jax import config as config_lib
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import tensors
from unialign_jax.features import hub
from unialign_jax.models import mmdit

_STEM = "diffusion_pytorch_model"
_INDEX = "model_index.json"
_ALIGN = "align_"
# Of config.sample, in model_index.json; the shift is the scheduler's.
_SETTINGS = (
  "steps",
  "guidance",
  "text_steps",
  "text_schedule",
  "text_temperature",
)
# config.encoders' names of what diffusers calls otherwise
_PARTS = {
  "text": ("text_encoder_3", "model", ("config.json",)),
  "tokenizer": ("tokenizer_3", None, hub.TOKENIZER),
  "image": ("vae", _STEM, ("config.json",)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
  """What a folder says beside the network.

  Attributes:
    resolution: side of a picture, pixels.
    text_length: L, tokens of every text.
    sample: how to draw and write by default.
    encoders: folders by their names in `config.encoders`, "" for none.
  """

  resolution: int
  text_length: int
  sample: config_lib.SampleConfig
  encoders: dict[str, str]


def load_network(
  path: str | os.PathLike, dtype: str | None
) -> tuple[mmdit.MMDiTConfig, Any]:
  """Shape and parameters (host arrays) of `transformer/`.

  Args:
    path: folder or hub id.
    dtype: of activations and parameters; None for that of the file, float32
      or bfloat16 (which stands for float16 too).

  Raises:
    ValueError: no such folder, or weights that do not fit its config.json.
  """
  found = hub.weights(path, "transformer", stem=_STEM)
  stored = tensors.Tensors(found, _STEM)
  described = tensors.read_json(found / "config.json")
  if dtype is None:
    is_whole = stored["context_embedder.bias"].dtype.itemsize == 4
    dtype = "float32" if is_whole else "bfloat16"
  null_tokens = stored["null_image_embd"].shape[1]
  config = _model_config(described, null_tokens, dtype)
  return config, mapping.to_flax(_rules(config), stored, _abstract(config))


def describe(path: str | os.PathLike) -> Described:
  """Reads `model_index.json`; without one, the paper's settings hold."""
  root = hub.folder(path, files=(_INDEX, "transformer/config.json"))
  index = {}
  if (root / _INDEX).exists():
    index = tensors.read_json(root / _INDEX)
  defaults = config_lib.load_file("base.py")
  sample = defaults.sample.to_dict()
  sample |= {key: index[key] for key in _SETTINGS if key in index}
  if index:
    scheduler = hub.folder(path, "scheduler", files=("scheduler_config.json",))
    read = tensors.read_json(scheduler / "scheduler_config.json")
    sample["shift"] = read["shift"]
  return Described(
    resolution=index.get("resolution", defaults.data.resolution),
    text_length=index.get("text_length", defaults.data.text_length),
    sample=config_lib.checked(config_lib.SampleConfig, sample),
    encoders={key: _part(path, key, index) for key in _PARTS},
  )


def _part(path: str | os.PathLike, key: str, index: Mapping[str, Any]) -> str:
  """Where an encoder is: in the folder, elsewhere, or "" if not named."""
  name, stem, files = _PARTS[key]
  reference = (index.get("references") or {}).get(name)
  if reference:
    inner = reference.get("subfolder", "")
    revision = reference.get("revision", "")
    return (
      reference["pretrained_model_name_or_path"]
      + (f"/{inner}" if inner else "")
      + (f"@{revision}" if revision else "")
    )
  if name not in index:
    return ""
  if stem is None:
    return str(hub.folder(path, name, files=files))
  return str(hub.weights(path, name, stem=stem, files=files))


def _model_config(
  described: Mapping[str, Any], null_tokens: int, dtype: str
) -> mmdit.MMDiTConfig:
  try:
    heads = described["num_attention_heads"]
    # Only networks that have such blocks need the key.
    dual = len(described.get("dual_attention_layers") or ())
    return mmdit.MMDiTConfig(
      in_channels=described["in_channels"],
      patch_size=described["patch_size"],
      width=heads * described["attention_head_dim"],
      depth=described["num_layers"],
      num_heads=heads,
      text_dim=described["joint_attention_dim"],
      vocab_size=described["vocab_size"],
      pos_embed_size=described["pos_embed_max_size"],
      pos_embed_base=described["sample_size"] // described["patch_size"],
      null_image_tokens=null_tokens,
      qk_norm=described.get("qk_norm") == "rms_norm",
      align_depth=1,  # the heads there are not loaded
      dtype=dtype,
      **({"dual_attention_depth": dual} if dual else {}),
    )
  except KeyError as error:
    raise ValueError(
      f"transformer/config.json: got no {error}, expected the keys of SD3's"
      " transformer and vocab_size; export the model again."
    ) from error


def _abstract(config: mmdit.MMDiTConfig) -> dict[str, Any]:
  dtype = jnp.dtype(config.dtype)
  params = mmdit.abstract_params(config)
  return {
    name: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), part)
    for name, part in params.items()
    if not name.startswith(_ALIGN)
  }


def _rules(
  config: mmdit.MMDiTConfig,
) -> list[mapping.Rule | mapping.Ignored]:
  kept = [
    rule
    for rule in mmdit_table.rules(config)
    if isinstance(rule, mapping.Ignored) or not rule.flax.startswith(_ALIGN)
  ]
  reason = "alignment heads, which only training uses"
  return [*kept, mapping.Ignored(r"siglip_adapter_.*", reason)]
