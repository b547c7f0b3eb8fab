"""A data set of JPEG files with captions, some of them bad."""

import pathlib

import numpy as np
from PIL import Image

WORDS = ("red", "blue", "green", "circle", "square")


def write(folder: pathlib.Path, count: int) -> None:
  """Pictures 7, 27, 47, ... are truncated, 11, 31, ... have no caption."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for number in range(count):
    path = folder / f"{number:04d}.jpg"
    blocks = rng.integers(0, 255, (8, 10, 3), np.uint8)
    Image.fromarray(blocks).resize((80, 64)).save(path)
    caption = f"a {WORDS[number % 5]} {WORDS[number // 5 % 5]}"
    if number % 20 == 7:
      path.write_bytes(path.read_bytes()[:-300])
    if number % 20 == 11:
      caption = ""
    path.with_suffix(".txt").write_text(caption)
