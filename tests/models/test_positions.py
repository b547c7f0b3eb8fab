"""Patches and positions, against the definition written as loops."""

import numpy as np
import pytest

from unialign_jax.models import positions


def _latents(B: int, H: int, W: int, C: int) -> np.ndarray:
  return np.arange(B * H * W * C, dtype=np.float32).reshape(B, H, W, C)


@pytest.mark.parametrize("shape", [(4, 4, 2), (6, 4, 3)])
@pytest.mark.parametrize("patch", [1, 2])
def test_unpatchify_is_the_inverse(shape, patch):
  x = _latents(2, *shape)
  patches = positions.patchify(x, patch)
  assert patches.shape[1] == shape[0] * shape[1] // patch**2
  back = positions.unpatchify(patches, *shape[:2], patch)
  np.testing.assert_array_equal(back, x)


def test_patches_run_row_by_row_and_inside_row_column_channel():
  x = _latents(1, 4, 6, 2)
  patches = positions.patchify(x, 2)
  for row in range(2):
    for column in range(3):
      got = patches[0, row * 3 + column].reshape(2, 2, 2)
      for p in range(2):
        for q in range(2):
          want = x[0, 2 * row + p, 2 * column + q]
          np.testing.assert_array_equal(got[p, q], want)


def test_table_is_sines_and_cosines_of_column_then_row():
  width, size, base = 8, 6, 3
  table = positions.sincos_table(width, size, base)
  assert table.shape == (size, size, width) and table.dtype == np.float32
  for row in range(size):
    for column in range(size):
      want = []
      for place in (column * base / size, row * base / size):
        angles = [place, place / 10000.0**0.5]
        want += [*np.sin(angles), *np.cos(angles)]
      np.testing.assert_allclose(table[row, column], want, atol=1e-6)


@pytest.mark.parametrize(
  "rows, columns, top, left", [(6, 6, 0, 0), (2, 4, 2, 1), (3, 1, 1, 2)]
)
def test_crop_is_centred(rows, columns, top, left):
  table = positions.sincos_table(8, 6, 6)
  got = positions.cropped_positions(8, 6, 6, rows, columns)
  want = table[top : top + rows, left : left + columns].reshape(-1, 8)
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rows, columns", [(7, 2), (2, 7)])
def test_picture_larger_than_the_table_raises(rows, columns):
  with pytest.raises(ValueError, match=r"pos_embed_size.*6 x 6"):
    positions.cropped_positions(8, 6, 6, rows, columns)
