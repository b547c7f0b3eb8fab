"""By what name a feature set knows an encoder: a hash of what it computes.

Over the published tensors as they lie in the files, not as they are held
afterwards: the precision of parameters and activations may differ between
writing features and training. Each tensor is hashed when it is read, so the
files are read once; sha256 takes 1 to 2 s per GB, about 15 s for T5-XXL.
"""

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np


class Hashed(Mapping[str, np.ndarray]):
  """Tensors that remember the hash of each one that was read."""

  def __init__(self, tensors: Mapping[str, np.ndarray]):
    self._tensors = tensors
    self._names = frozenset(tensors)
    self._digests: dict[str, str] = {}

  def __getitem__(self, name: str) -> np.ndarray:
    tensor = self._tensors[name]
    if name not in self._digests:
      self._digests[name] = tensor_digest(tensor)
    return tensor

  def __contains__(self, name: object) -> bool:
    return name in self._names  # Mapping would read the tensor

  def __iter__(self) -> Iterator[str]:
    return iter(self._tensors)

  def __len__(self) -> int:
    return len(self._tensors)

  @property
  def digests(self) -> dict[str, str]:
    """Name -> hash of every tensor read so far."""
    return dict(self._digests)


def tensor_digest(tensor: np.ndarray) -> str:
  """sha256 of dtype, shape and bytes."""
  digest = hashlib.sha256(f"{tensor.dtype} {tensor.shape}".encode())
  digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))
  return digest.hexdigest()


def of(settings: Any, digests: Mapping[str, str]) -> str:
  """One hash of JSON-like settings and of tensors, in any order of names."""
  text = json.dumps([settings, digests], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
