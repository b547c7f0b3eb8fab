"""Photographs that are fit for the set: shape, size, sharpness, exposure.

The paper names low quality and extreme aspect ratios without thresholds. The
bounds on shape and size are what the released set shows: its photographs have
aspect ratios from 0.770 to 1.298, short sides from 360 and long sides to 640
pixels. Sharpness and exposure are this project's measures of quality; of the
released photographs the least sharp one has 45, and the one with most clipped
pixels 0.80.
"""

import dataclasses

import numpy as np
from PIL import Image
from scipy import ndimage

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.evals.semgen.building import pool

_SIDE = 512  # pixels of the longer side at which sharpness is measured
_CLIPPED = (4, 251)  # darker or lighter pixels show nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
  """What a photograph has to be.

  Attributes:
    min_aspect, max_aspect: of width over height.
    min_side: of the shorter side, pixels.
    min_sharpness: see `sharpness`.
    max_clipped: share of pixels that are black or white.
  """

  min_aspect: float = 3 / 4
  max_aspect: float = 4 / 3
  min_side: int = 360
  min_sharpness: float = 40.0
  max_clipped: float = 0.85


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """One photograph, and why it is not fit, if so.

  Attributes:
    width, height: pixels, 0 where it cannot be decoded.
    sharpness, clipped: None where an earlier test failed.
    reason: "" for a fit one, else one of "unreadable", "aspect ratio",
      "small", "blurred", "exposure".
  """

  width: int = 0
  height: int = 0
  sharpness: float | None = None
  clipped: float | None = None
  reason: str = ""


def measure(candidate: pool.Candidate, bounds: Bounds) -> Measured:
  """Tests a photograph, the cheap tests first."""
  try:
    data = candidate.path.read_bytes()
    rgb = pictures.decode(base.Picture(data))
  except (OSError, pictures.PictureError):
    return Measured(reason="unreadable")
  height, width = rgb.shape[:2]
  size = {"width": width, "height": height}
  if not bounds.min_aspect <= width / height <= bounds.max_aspect:
    return Measured(**size, reason="aspect ratio")
  if min(width, height) < bounds.min_side:
    return Measured(**size, reason="small")
  grey = np.asarray(Image.fromarray(rgb).convert("L"))
  found = {"sharpness": sharpness(grey), "clipped": clipped(grey)}
  if found["sharpness"] < bounds.min_sharpness:
    return Measured(**size, **found, reason="blurred")
  if found["clipped"] > bounds.max_clipped:
    return Measured(**size, **found, reason="exposure")
  return Measured(**size, **found)


def sharpness(grey: np.ndarray) -> float:
  """Variance of the Laplacian at a longer side of 512 pixels.

  Args:
    grey: uint8 [H, W].
  """
  image = Image.fromarray(grey)
  scale = _SIDE / max(image.size)
  if scale < 1:
    size = [max(round(side * scale), 1) for side in image.size]
    image = image.resize(size, Image.Resampling.LANCZOS)
  return float(ndimage.laplace(np.asarray(image, np.float32)).var())


def clipped(grey: np.ndarray) -> float:
  """The share of pixels that are all but black or white; uint8 [H, W]."""
  low, high = _CLIPPED
  return float(np.mean((grey < low) | (grey > high)))
