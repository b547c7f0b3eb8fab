"""Patches and where they stand: patchify, unpatchify, SD3's fixed positions."""

import functools

import jax
import numpy as np


def patchify(latents_BHWC: jax.Array, patch_size: int) -> jax.Array:
  """[B, H, W, C] -> [B, T, P*P*C], T row by row, inside a patch (p, q, c)."""
  B, H, W, C = latents_BHWC.shape
  P = patch_size
  x = latents_BHWC.reshape(B, H // P, P, W // P, P, C)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, P * P * C)


def unpatchify(
  patches_BTP: jax.Array, height: int, width: int, patch_size: int
) -> jax.Array:
  """Inverse of `patchify`: [B, T, P*P*C] -> [B, H, W, C]."""
  B = patches_BTP.shape[0]
  P = patch_size
  x = patches_BTP.reshape(B, height // P, width // P, P, P, -1)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, height, width, -1)


@functools.cache
def sincos_table(width: int, size: int, base: int) -> np.ndarray:
  """SD3's fixed position table [size, size, width], fp32.

  Columns fill the first half of the width, rows the second; each half holds
  sines, then cosines. Positions are `index * base / size`: a table made larger
  than the base grid keeps the base grid's range.
  """
  omega = 1.0 / 10000.0 ** (np.arange(width // 4) / (width / 4))
  angles = (np.arange(size) * base / size)[:, None] * omega[None, :]
  line = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  columns = np.broadcast_to(line[None, :, :], (size, size, width // 2))
  rows = np.broadcast_to(line[:, None, :], (size, size, width // 2))
  return np.concatenate([columns, rows], axis=-1).astype(np.float32)


def cropped_positions(
  width: int, size: int, base: int, rows: int, columns: int
) -> np.ndarray:
  """The centre `rows x columns` of the table as [rows * columns, width].

  Raises:
    ValueError: where the grid is larger than the table.
  """
  if max(rows, columns) > size:
    raise ValueError(
      f"config.model.pos_embed_size: the picture has {rows} x {columns}"
      f" patches, the position table only {size} x {size}. Raise"
      " pos_embed_size, or lower the resolution."
    )
  top, left = (size - rows) // 2, (size - columns) // 2
  table = sincos_table(width, size, base)
  return table[top : top + rows, left : left + columns].reshape(-1, width)
