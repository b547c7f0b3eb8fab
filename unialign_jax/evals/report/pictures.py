"""A few of a folder's pictures, small, for a report."""

import io
import itertools
import pathlib

from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.report import document
from unialign_jax.use import outputs

_MOST = 24
_SIDE = 160
_QUALITY = 85
_COLUMNS = 6
_GAP = 4


def chosen(folder: pathlib.Path) -> list[document.Picture]:
  """The first pictures of each group in turn, at most `_MOST`.

  Args:
    folder: of results; pictures in it that `generation` did not draw are left
      out, as they do not say what they are.
  """
  by_group: dict[str, list[document.Picture]] = {}
  counts: dict[str, int] = {}
  paths = sorted(p for p in folder.rglob("*.png") if p.is_file())
  for path in paths:
    made_by = _made_by(path)
    if made_by is None or counts.get(made_by["group"], 0) >= _MOST:
      continue
    group = made_by["group"]
    counts[group] = counts.get(group, 0) + 1
    picture = document.Picture(
      _small(path), f"{group}: {made_by.get('text', '')}"
    )
    by_group.setdefault(group, []).append(picture)
  turns = itertools.zip_longest(*by_group.values())
  found = [one for turn in turns for one in turn if one is not None][:_MOST]
  return sorted(found, key=lambda one: one.text.partition(":")[0])


def contact_sheet(sheet: document.Sheet) -> bytes:
  """All pictures of a sheet as one JPEG, in rows, in order."""
  images = [
    Image.open(io.BytesIO(one.jpeg), formats=picture_files.FORMATS)
    for one in sheet.pictures
  ]
  columns = min(_COLUMNS, len(images))
  step = _SIDE + _GAP
  size = (columns * step, -(-len(images) // columns) * step)
  canvas = Image.new("RGB", size, "white")
  for number, image in enumerate(images):
    row, column = divmod(number, columns)
    canvas.paste(image, (column * step, row * step))
  return _jpeg(canvas)


def _made_by(path: pathlib.Path) -> dict | None:
  try:
    found = outputs.read_png(path)
  except ValueError:
    return None
  return found if isinstance(found.get("group"), str) else None


def _small(path: pathlib.Path) -> bytes:
  with Image.open(path, formats=("PNG",)) as image:
    picture = image.convert("RGB")
  scale = _SIDE / max(picture.size)
  size = tuple(max(round(side * scale), 1) for side in picture.size)
  # Few pixels stay as they are seen: sharp.
  how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
  return _jpeg(picture.resize(size, how))


def _jpeg(image: Image.Image) -> bytes:
  file = io.BytesIO()
  image.save(file, "JPEG", quality=_QUALITY)
  return file.getvalue()
