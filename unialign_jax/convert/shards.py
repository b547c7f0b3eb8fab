"""Safetensors written as they come: one file, or shards of bounded size."""

import json
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
import safetensors.numpy

MAX_BYTES = 5 * 10**9  # of one file, as transformers splits them


def write(
  folder: pathlib.Path,
  stem: str,
  tensors: Iterable[tuple[str, np.ndarray]],
  *,
  metadata: Mapping[str, str],
  max_bytes: int = MAX_BYTES,
) -> None:
  """Writes `{stem}.safetensors`, or shards and their index.

  At most one shard is in memory.

  Args:
    folder: an existing folder.
    stem: "diffusion_pytorch_model" for diffusers.
    tensors: names and arrays, each name once.
    metadata: of every file; "format" is added.
    max_bytes: of the tensors in one file; a larger tensor has its own.
  """
  shards: list[list[str]] = []
  held: dict[str, np.ndarray] = {}
  total = 0

  def flush() -> None:
    # transformers refuses files that do not say for which framework they are.
    safetensors.numpy.save_file(
      held, _part(folder, len(shards)), metadata={**metadata, "format": "pt"}
    )
    shards.append(list(held))
    held.clear()

  size = 0
  for name, tensor in tensors:
    if held and size + tensor.nbytes > max_bytes:
      flush()
      size = 0
    held[name] = np.ascontiguousarray(tensor)
    size += tensor.nbytes
    total += tensor.nbytes
  flush()
  _name(folder, stem, shards, total)


def _part(folder: pathlib.Path, index: int) -> pathlib.Path:
  """Where a shard lies while it is not known how many there will be."""
  return folder / f"part-{index:05}"


def _name(
  folder: pathlib.Path, stem: str, shards: list[list[str]], total: int
) -> None:
  """Gives the files their names, and more than one an index."""
  count = len(shards)
  weight_map = {}
  for i, names in enumerate(shards):
    file = f"{stem}-{i + 1:05}-of-{count:05}.safetensors"
    path = folder / (f"{stem}.safetensors" if count == 1 else file)
    _part(folder, i).rename(path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    weight_map |= dict.fromkeys(names, file)
  if count > 1:
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / f"{stem}.safetensors.index.json").write_text(text)
