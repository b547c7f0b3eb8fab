"""The parts of a Qwen2.5-VL folder that `qwen` uses, each checked."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import transformers

from unialign_jax.features import hub

# Files written before and after transformers 4.52 name the tensors differently.
_VISION = r"(?:model\.)?visual\.(?P<rest>.+)"
_TABLE = r"model\.(?:language_model\.)?embed_tokens\.weight"
WANTED = f"{_VISION}|{_TABLE}"
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")


def pytorch() -> Any:
  """The module, imported when it is needed.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import torch as module
  except ImportError as error:
    raise ValueError(
      "Qwen2.5-VL features need PyTorch, which is not installed: pip install"
      " 'unialign_jax[encoders]'."
    ) from error
  return module


def read_config(folder: pathlib.Path) -> Any:
  """The vision tower's configuration."""
  _require(folder, "config.json")
  config = transformers.AutoConfig.from_pretrained(str(folder))
  if config.model_type != "qwen2_5_vl":
    raise ValueError(
      f"config.json in {folder} has model_type {config.model_type!r}, expected"
      " 'qwen2_5_vl'; name a Qwen2.5-VL."
    )
  return config.vision_config


def load_processor(
  folder: pathlib.Path, min_pixels: int | None, max_pixels: int | None
) -> Any:
  """What turns pictures into patches; None keeps what is published."""
  _require(folder, *PICTURE_FILES)
  changes = {"min_pixels": min_pixels, "max_pixels": max_pixels}
  return transformers.Qwen2VLImageProcessorPil.from_pretrained(
    str(folder), **{k: v for k, v in changes.items() if v is not None}
  )


def load_tokenizer(folder: pathlib.Path, rows: int) -> Any:
  """The tokenizer, of which a table with so many rows covers every id."""
  # Without the file, transformers makes a tokenizer that knows no word.
  _require(folder, "tokenizer.json")
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
  if len(tokenizer) > rows:
    raise ValueError(
      f"The tokenizer in {folder} has {len(tokenizer)} tokens, expected at most"
      f" the {rows} rows of the embedding table; pair the files of one model."
    )
  return tokenizer


def _require(folder: pathlib.Path, *names: str) -> None:
  """At least one of these files."""
  if not any((folder / name).is_file() for name in names):
    raise ValueError(
      f"{folder} has no {' or '.join(names)}, which Qwen2.5-VL features need;"
      " fetch the whole model again."
    )


def read(folder: pathlib.Path) -> tuple[dict[str, Any], Any]:
  """Tensors of the vision tower by the tower's names, and the table."""
  vision, table, files = {}, None, {}
  for name, file in hub.weight_map(folder, "model").items():
    match = re.fullmatch(_VISION, name)
    is_table = re.fullmatch(_TABLE, name)
    if not match and not is_table:
      continue
    if file not in files:
      files[file] = safetensors.safe_open(folder / file, framework="pt")
    tensor = files[file].get_tensor(name)
    if match:
      vision[match["rest"]] = tensor
    else:
      table = tensor
  if table is None or not vision:
    raise ValueError(
      f"The weights in {folder} hold {len(vision)} tensors 'visual.*' and"
      f" {'no' if table is None else 'a'} table 'embed_tokens', expected both;"
      " name a whole Qwen2.5-VL."
    )
  return vision, table


def bits(tensor: Any) -> np.ndarray:
  """A PyTorch tensor as numpy; bfloat16, which numpy lacks, as its bits."""
  torch = pytorch()
  if tensor.dtype == torch.bfloat16:
    return tensor.view(torch.int16).numpy()
  return tensor.numpy()


def build(
  config: Any, state: Mapping[str, Any], device: str, dtype: Any
) -> Any:
  """The tower with its weights, on its device.

  Raises:
    ValueError: weights missing, left over or of another shape.
  """
  torch = pytorch()
  if device == "auto":
    found = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if found else "cpu"
  from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

  kind = modeling.Qwen2_5_VisionTransformerPretrainedModel
  expected = _shapes(kind, config)
  got = {name: tuple(tensor.shape) for name, tensor in state.items()}
  if wrong := {
    name: f"got {got.get(name)}, expected {expected.get(name)}"
    for name in sorted(got.keys() | expected.keys())
    if got.get(name) != expected.get(name)
  }:
    raise ValueError(
      f"The vision tower and its weights do not fit: {wrong}; download the"
      " model again."
    )
  tower = kind.from_pretrained(
    None,
    config=config,
    state_dict=dict(state),
    dtype=getattr(torch, jnp.dtype(dtype).name),
  )
  return tower.to(device).eval()


def _shapes(kind: type, config: Any) -> dict[str, tuple[int, ...]]:
  """Name -> shape of the tensors that the tower needs, without making them."""
  with pytorch().device("meta"):
    state = kind(config).state_dict()
  return {name: tuple(tensor.shape) for name, tensor in state.items()}
