"""`configs/features.py`, checked, and the encoders that it names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from unialign_jax import config as config_lib
from unialign_jax.data.sources import framing
from unialign_jax.features import encode
from unialign_jax.features import encoders as encoders_lib
from unialign_jax.features import hub
from unialign_jax.features import pooled
from unialign_jax.features import qwen
from unialign_jax.features import writer as writer_lib

_DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}
_POOLED = "pooled"
_QWEN = "qwen:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodersConfig:
  """`encoders`: the frozen networks, folders or hub names."""

  text: str
  tokenizer: str
  mask_embedding: str
  text_dtype: str
  image: str
  image_dtype: str
  semantic: str
  semantic_dtype: str
  semantic_grid: int
  pooled_dim: int

  def __post_init__(self) -> None:
    for name in ("text_dtype", "image_dtype", "semantic_dtype"):
      if getattr(self, name) not in _DTYPES:
        raise ValueError(
          f"config.encoders.{name}: got {getattr(self, name)!r}, expected one"
          f" of {sorted(_DTYPES)}."
        )
    if self.semantic != _POOLED and not self.semantic.startswith(_QWEN):
      raise ValueError(
        f"config.encoders.semantic: got {self.semantic!r}, expected"
        f" {_POOLED!r}, or {_QWEN + 'PATH'!r} with the folder or hub name of a"
        " Qwen2.5-VL."
      )
    if self.semantic_grid < 0 or (self.semantic_grid and not self.qwen):
      raise ValueError(
        f"config.encoders.semantic_grid: got {self.semantic_grid}, expected 0"
        " (h_image averaged), or with a Qwen2.5-VL the side of the network's"
        " grid of tokens."
      )
    if self.pooled_dim < 1:
      raise ValueError(
        f"config.encoders.pooled_dim: got {self.pooled_dim}, expected >= 1."
      )

  @property
  def qwen(self) -> str:
    """Folder or hub name of the Qwen2.5-VL, or ""."""
    return "" if self.semantic == _POOLED else self.semantic[len(_QWEN) :]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturesConfig:
  """`pictures`: what is made of a picture before it is encoded."""

  resolution: int
  policy: str

  def __post_init__(self) -> None:
    if self.resolution < 1:
      raise ValueError(
        f"config.pictures.resolution: got {self.resolution}, expected >= 1."
      )
    if self.policy not in framing.POLICIES:
      raise ValueError(
        f"config.pictures.policy: got {self.policy!r}, expected one of"
        f" {framing.POLICIES}."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
  """All of it. `configs/features.py` documents every key."""

  encoders: EncodersConfig
  pictures: PicturesConfig
  writer: writer_lib.WriterConfig


def from_dict(values: Mapping[str, Any]) -> FeaturesConfig:
  """Checks a whole config.

  Raises:
    ValueError: for unknown, missing or mistyped keys, or values out of range.
  """
  return config_lib.checked(FeaturesConfig, values)


def check_folders(config: EncodersConfig) -> None:
  """Looks whether all networks are there, before the first one is loaded.

  Raises:
    ValueError: which one is not.
  """
  names = {
    "text": config.text,
    "tokenizer": config.tokenizer,
    "image": config.image,
  }
  if config.semantic != _POOLED:
    names["semantic"] = config.qwen
  for key, name in names.items():
    if not name:
      raise ValueError(
        f'config.encoders.{key}: got "", expected a folder, or the name of a'
        " model on the hub."
      )
    try:
      hub.folder(name, files=("config.json", *hub.TOKENIZER))
    except ValueError as e:
      raise ValueError(f"config.encoders.{key}: {e}") from e


def load_encoders(config: FeaturesConfig) -> encode.Encoders:
  """Loads the networks.

  Raises:
    ValueError: files missing, or weights that do not fit.
  """
  names, batch_size = config.encoders, config.writer.batch_size
  text_dtype = _DTYPES[names.text_dtype]
  text = encoders_lib.TextEncoder.load(
    names.text,
    names.tokenizer,
    mask_embedding=names.mask_embedding or None,
    batch_size=batch_size,
    dtype=text_dtype,
    param_dtype=text_dtype,
  )
  image = encoders_lib.ImageEncoder.load(
    names.image, batch_size=batch_size, dtype=_DTYPES[names.image_dtype]
  )
  semantic = _load_semantic(config, text, image)
  return encode.Encoders(text=text, image=image, semantic=semantic)


def _load_semantic(
  config: FeaturesConfig,
  text: encoders_lib.TextEncoder,
  image: encoders_lib.ImageEncoder,
) -> Any:
  names = config.encoders
  if names.semantic == _POOLED:
    return pooled.PooledFeatures(
      text,
      image,
      dim=names.pooled_dim,
      text_length=config.writer.text_length,
    )
  grid = names.semantic_grid
  return qwen.QwenFeatures.load(
    names.qwen,
    patches=(grid, grid) if grid else None,
    dtype=_DTYPES[names.semantic_dtype],
    batch_size=config.writer.batch_size,
  )
