"""T5 features of the prompt " ", which stands in for a dropped prompt."""

import os
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from etils import epath

from unialign_jax.features import encoders
from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib

TEXT = " "


class NullPrompt(NamedTuple):
  """The prompt of the unconditional image pass."""

  ids: np.ndarray  # [L] int32
  features: np.ndarray  # [L, E] float32


def encode(text_encoder: encoders.TextEncoder, length: int) -> NullPrompt:
  """The null prompt of `length` tokens, padding included."""
  ids_BL = text_encoder.tokenise([TEXT], length)
  features_BLE = np.asarray(text_encoder.encode(ids_BL), np.float32)
  return NullPrompt(ids_BL[0], features_BLE[0])


def save(folder: epath.Path, null: NullPrompt) -> None:
  """Writes the null prompt of a feature set, in float32."""
  data = safetensors.numpy.save(null._asdict())
  files.write(folder / manifest_lib.NULL_PROMPT_FILENAME, data)


def load(folder: str | os.PathLike) -> NullPrompt:
  """The null prompt of a finished feature set.

  Raises:
    ManifestError: the file is missing or not the one that was written.
  """
  path = epath.Path(folder) / manifest_lib.NULL_PROMPT_FILENAME
  expected = manifest_lib.load(folder).null_prompt_sha256
  try:
    got = files.sha256(path) if path.exists() else "no file"
  except OSError as e:
    got = f"a file that cannot be read ({e})"
  if got != expected:
    raise manifest_lib.ManifestError(
      f"{path}: got sha256 {got}, expected {expected}; copy the file again, or"
      f" delete it and {manifest_lib.FILENAME} and run"
      " `python -m unialign_jax.precompute` again"
    )
  return NullPrompt(**safetensors.numpy.load(path.read_bytes()))
