"""Safetensors on disk: one file or shards, read lazily, written whole."""

import pathlib
import re
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from unialign_jax import strict_json

# A file in the folder of the index: its name leads nowhere else.
_FILE = re.compile(r"\w[\w.-]*\.safetensors", re.ASCII)


class Tensors(Mapping[str, np.ndarray]):
  """Names -> numpy arrays of a folder's weights, each read when asked for."""

  def __init__(self, folder: str | pathlib.Path, stem: str):
    """Opens `{stem}.safetensors`, or the shards that its index lists.

    Args:
      folder: a folder in Hugging Face layout.
      stem: "model" for transformers, "diffusion_pytorch_model" for diffusers.

    Raises:
      ValueError: no weights there, a shard is missing, or a shard lacks a
        tensor that the index promises.
    """
    self._folder = folder = pathlib.Path(folder)
    self._files: dict[str, safetensors.safe_open] = {}
    index = folder / f"{stem}.safetensors.index.json"
    single = folder / f"{stem}.safetensors"
    if single.exists():
      promised = dict.fromkeys(_open(single).keys(), single.name)
    elif index.exists():
      promised = read_index(index)
    else:
      found = sorted(p.name for p in folder.glob("*"))
      raise ValueError(
        f"No weights in {folder}: expected {single.name} or {index.name}, "
        f"found {found}. Download the folder again, in safetensors form."
      )
    shards = {name: _open(folder / name) for name in set(promised.values())}
    held = {shard: set(file.keys()) for shard, file in shards.items()}
    for name, shard in promised.items():
      if name not in held[shard]:
        raise ValueError(
          f"{folder / shard} lacks {name!r}, which {index.name} promises; "
          "download the folder again."
        )
      self._files[name] = shards[shard]

  def __getitem__(self, name: str) -> np.ndarray:
    try:
      return self._files[name].get_tensor(name)
    except (ValueError, TypeError, safetensors.SafetensorError) as error:
      raise ValueError(
        f"Cannot read {name!r} in {self._folder}: {error}. Download it again."
      ) from error

  def __contains__(self, name: object) -> bool:
    return name in self._files  # without reading it

  def __iter__(self) -> Iterator[str]:
    return iter(sorted(self._files))

  def __len__(self) -> int:
    return len(self._files)


def read_index(path: pathlib.Path) -> dict[str, str]:
  """Tensor name -> file in the same folder, of `*.safetensors.index.json`.

  Raises:
    ValueError: no such index, or one that names anything but such files.
  """
  index = read_json(path)
  files = index.get("weight_map")
  if not isinstance(files, dict) or not files:
    raise ValueError(
      f"{path}: got no weight_map, expected one; fetch the model again."
    )
  others = sorted(
    {
      repr(file)
      for file in files.values()
      if not isinstance(file, str) or not _FILE.fullmatch(file)
    }
  )
  if others:
    raise ValueError(
      f"{path}: got {', '.join(others[:5])} in weight_map, expected names of"
      " .safetensors files in the same folder; fetch the model again."
    )
  return files


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object, such as config.json or the index of shards.

  Raises:
    ValueError: missing, or none.
  """
  try:
    values = strict_json.read(path)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path}: got no readable JSON ({error}); fetch the model again."
    ) from error
  if not isinstance(values, dict):
    raise ValueError(
      f"{path}: got a JSON {type(values).__name__}, expected an object; fetch"
      " the model again."
    )
  return values


def _open(path: pathlib.Path) -> "safetensors.safe_open":
  try:
    return safetensors.safe_open(path, framework="numpy")
  except (OSError, safetensors.SafetensorError) as error:
    raise ValueError(
      f"Cannot read {path} as safetensors: {error}. Download it again."
    ) from error


def save(
  folder: str | pathlib.Path, stem: str, tensors: Mapping[str, np.ndarray]
) -> pathlib.Path:
  """Writes `{stem}.safetensors` into a folder, making it; returns the path."""
  path = pathlib.Path(folder) / f"{stem}.safetensors"
  path.parent.mkdir(parents=True, exist_ok=True)
  # transformers refuses files that do not say for which framework they are.
  metadata = {"format": "pt"}
  safetensors.numpy.save_file(dict(tensors), path, metadata=metadata)
  path.chmod(0o644)  # safetensors makes files that only their owner can read
  return path
