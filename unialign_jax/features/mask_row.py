"""The embedding of the mask token, as published apart from its encoder."""

import pathlib

import numpy as np

from unialign_jax.convert import tensors


def read(path: str | pathlib.Path, width: int) -> np.ndarray:
  """The only tensor of a .safetensors or .pth file, as float `[width]`.

  Raises:
    ValueError: more or other tensors, or a file that holds code.
  """
  path = pathlib.Path(path)
  if path.suffix == ".safetensors":
    found = dict(tensors.Tensors(path.parent, path.stem))
  else:
    found = _read_pth(path)
  if len(found) != 1 or next(iter(found.values())).size != width:
    shapes = {name: tensor.shape for name, tensor in found.items()}
    raise ValueError(
      f"Mask embedding {path} holds {shapes}, expected one tensor of {width} "
      "numbers; it must have been made for this text encoder."
    )
  return next(iter(found.values())).reshape(width)


def _read_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Tensors of a PyTorch file, without running any code that it holds."""
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f"Reading {path} needs PyTorch; install it (pip install torch), or "
      "save the tensor as .safetensors."
    ) from error
  try:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # PyTorch raises nearly anything on damage
    raise ValueError(
      f"Cannot read {path} as tensors alone: {error}. Save the row as "
      ".safetensors."
    ) from error
  named = loaded if isinstance(loaded, dict) else {"tensor": loaded}
  if others := [v for v in named.values() if not torch.is_tensor(v)]:
    raise ValueError(
      f"{path} holds a {type(others[0]).__name__}, expected one tensor; save "
      "the row alone."
    )
  return {k: v.detach().float().numpy() for k, v in named.items()}
