"""Small sets in SemGen-Bench's format, and folders of pictures for them."""

import json
import pathlib

from PIL import Image

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import layout

SHADES = range(0, 250, 10)


def line(key: int, **changes) -> dict:
  fields = {
    "image_id": key + 1,
    "image_path": f"/elsewhere/benchmark/images/{key + 1}.jpg",
    **{group.field: f"{group.field} of {key}" for group in dataset.GROUPS},
  }
  return fields | changes


def write(folder: pathlib.Path, count: int, **changes) -> pathlib.Path:
  """A set of grey photographs; the first is of one channel, as released."""
  (folder / dataset.IMAGES).mkdir(parents=True, exist_ok=True)
  for key in range(count):
    mode, color = ("L", 5) if key == 0 else ("RGB", (SHADES[key],) * 3)
    path = folder / dataset.IMAGES / f"{key + 1}.jpg"
    Image.new(mode, (40, 30), color).save(path)
  lines = [json.dumps(line(key, **changes)) for key in range(count)]
  (folder / dataset.LINES).write_text("\n".join(lines) + "\n")
  return folder


def draw(
  out: pathlib.Path, group: dataset.Group, key: int, shade: int, side: int = 32
) -> None:
  """What a model would have made."""
  path = out / layout.picture(group, key)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", (side, side), (shade,) * 3).save(path)
