"""Any picture format and mode comes in as the picture that a viewer shows."""

import io

import numpy as np
import pytest
from PIL import Image

from unialign_jax.data.sources import pictures
from unialign_jax.use import pictures_in


def _red(mode: str) -> Image.Image:
  image = Image.new("RGB", (40, 30), (255, 0, 0))
  if mode == "I;16":
    return Image.fromarray(np.full((30, 40), 65535, np.uint16))
  if mode == "PA":
    return image.convert("P").convert("PA")
  return image.convert(mode)


@pytest.mark.parametrize(
  "mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LA", "L", "1", "I;16"]
)
def test_modes(mode: str):
  got = pictures_in.square(_red(mode), 16, "crop")
  assert got.shape == (16, 16, 3) and got.dtype == np.uint8
  if mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"):
    assert np.abs(got.astype(int) - [255, 0, 0]).max() <= 2
  elif mode == "I;16":
    assert (got == 255).all()
  else:
    assert (got[..., 0] == got[..., 1]).all()


def test_what_is_clear_becomes_white_and_edges_are_framed():
  clear = Image.new("RGBA", (20, 10), (9, 9, 9, 0))
  assert (pictures_in.square(clear, 8, "squash") == 255).all()
  red = pictures_in.square(_red("RGB"), 16, "pad")
  assert (red[0] == 255).all() and (red[8] == [255, 0, 0]).all()


def test_bytes_paths_and_arrays_are_the_same(tmp_path):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  (tmp_path / "picture").write_bytes(file.getvalue())
  want = pictures_in.square(pixels, 16, "crop")
  for same in (
    Image.fromarray(pixels),
    file.getvalue(),
    tmp_path / "picture",
    str(tmp_path / "picture"),
  ):
    np.testing.assert_array_equal(pictures_in.square(same, 16, "crop"), want)


@pytest.mark.parametrize(
  ("picture", "message"),
  [
    (b"nothing", "unknown picture format"),
    ("missing.png", "cannot read missing.png"),
    (np.zeros((4, 4)), "expected uint8"),
    (3, "got int, expected a Pillow image"),
    (Image.new("F", (4, 4)), "unknown picture mode"),
  ],
)
def test_what_is_no_picture(picture, message: str):
  with pytest.raises(ValueError, match=message) as caught:
    pictures_in.square(picture, 16, "crop")
  if message.startswith("unknown"):
    assert isinstance(caught.value, pictures.PictureError)
