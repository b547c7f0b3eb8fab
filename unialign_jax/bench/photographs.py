"""JPEG files of photographic size and detail, with captions."""

import pathlib

import numpy as np
from PIL import Image

WIDTH = 640
HEIGHT = 480
_QUALITY = 90
_GRAIN = 10  # standard deviation of the texture, of 255 levels
_WORDS = 40  # of a caption
_VOCABULARY = "a red blue small large circle square left of the and in on with"


def write(folder: pathlib.Path, count: int, *, seed: int = 0) -> None:
  """Writes `count` pictures and captions as the `folder` source reads them.

  Smooth colours under fine grain: about as many bytes, and as much work for a
  decoder, as photographs have; flat noise of either kind has not.
  """
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  for number in range(count):
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = rng.normal(0, _GRAIN, (HEIGHT, WIDTH, 1))
    levels = np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)
    path = folder / f"{number:06d}.jpg"
    Image.fromarray(levels).save(path, quality=_QUALITY)
    words = rng.choice(_VOCABULARY.split(), _WORDS)
    path.with_suffix(".txt").write_text(" ".join(words))
