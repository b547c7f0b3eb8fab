"""A model that writes prompts that pass, and photographs to write about."""

import json
import pathlib

import numpy as np
from PIL import Image

from unialign_jax.evals.semgen.building import proposals

LONG = " ".join(
  ["Two brown dogs run over a wide green field towards a red house."] * 16
)
SEMANTIC = {
  "prompt": (
    "Two dogs wait to the left of a red door, in front of a brick wall, as if"
    " somebody had promised to open it."
  ),
  "count": "Two dogs",
  "color": "a red door",
  "relation": "to the left of",
  "background": "in front of a brick wall",
  "reasoning": "as if somebody had promised to open it",
}
MULTI = [
  "Make the left dog white.",
  "Replace the red door by a window.",
  "Let it rain in the background.",
]
EDIT = {
  "instruction": "Paint the thing that the dogs wait for in blue.",
  "attribute": "color",
  "reasoning": "The dogs wait for the door to be opened.",
}


def reply(prompt: str, images, attempt: int = 0) -> str:
  """One that will do; the shade of the photograph is in it."""
  del attempt
  shade = round(float(np.asarray(images[0].convert("L")).mean()))
  return json.dumps(_object(prompt, f" Shade {shade} is seen by two."))


def _object(prompt: str, end: str) -> dict:
  if proposals.LONG.request in prompt:
    return {"prompt": LONG + end}
  if proposals.SEMANTIC.request in prompt:
    return SEMANTIC | {"prompt": SEMANTIC["prompt"] + end}
  if proposals.MULTI.request in prompt:
    return {"instructions": MULTI}
  return EDIT


class Encoder:
  """Mean colors; for tests alone, and says so."""

  identity = "mean colors, for tests"

  def __init__(self):
    self.count = 0

  def encode(self, images, texts):
    self.count += len(images)
    assert len(images) == len(texts)
    means = [np.asarray(image).mean(axis=(0, 1)) + 1 for image in images]
    return np.stack(means)


def photograph(
  path: pathlib.Path,
  color: tuple[int, int, int],
  size: tuple[int, int] = (480, 400),
  noise: float = 25.0,
) -> None:
  """A noisy surface, so that it is not taken for a blurred one."""
  rng = np.random.default_rng(sum(color))
  pixels = np.array(color) + rng.normal(0, noise, (size[1], size[0], 1))
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


_HUES = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


def pool(folder: pathlib.Path, each: int = 4) -> pathlib.Path:
  """Three groups of colors."""
  for group, hue in enumerate(_HUES):
    for number in range(each):
      color = tuple(value + 5 * number for value in hue)
      photograph(folder / f"{group}_{number}.jpg", color)
  return folder
