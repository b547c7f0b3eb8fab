"""Results on disk: each whole or not there, with the settings that made it."""

import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL import PngImagePlugin

_KEY = "unialign_jax"  # of the PNG's text chunk, which holds JSON


def save_png(
  path: pathlib.Path, image: Image.Image, made_by: Mapping[str, Any]
) -> None:
  """Writes a picture with what made it in its metadata."""
  part = path.with_name(f".{path.name}.part")
  part.write_bytes(png(image, made_by))
  part.replace(path)


def png(image: Image.Image, made_by: Mapping[str, Any]) -> bytes:
  """A PNG with what made it in its metadata."""
  metadata = PngImagePlugin.PngInfo()
  metadata.add_itxt(_KEY, json.dumps(made_by, ensure_ascii=False))
  encoded = io.BytesIO()
  image.save(encoded, "PNG", pnginfo=metadata)
  return encoded.getvalue()


def read_png(path: str | os.PathLike) -> dict[str, Any]:
  """What made a picture that `save_png` wrote.

  Raises:
    ValueError: another file.
  """
  try:
    with Image.open(path, formats=("PNG",)) as image:
      return json.loads(image.text[_KEY])
  except (OSError, KeyError, ValueError) as error:
    raise ValueError(
      f"{os.fspath(path)}: got a file that does not say what made it, expected"
      " a PNG of `python -m unialign_jax.generate`."
    ) from error


def is_done(path: pathlib.Path, made_by: Mapping[str, Any]) -> bool:
  """Whether a picture is there already.

  Raises:
    ValueError: one of other settings is in its place.
  """
  if not path.exists():
    return False
  found, wanted = read_png(path), json.loads(json.dumps(made_by))
  # A setting that is younger than the picture is null in both.
  other = sorted(
    key for key in {*found, *wanted} if found.get(key) != wanted.get(key)
  )
  if other:
    raise ValueError(
      f"--out: {path} was made with another {', '.join(other)}; use another"
      " folder, or delete it."
    )
  return True


class Lines:
  """A JSON-lines file that grows; what a kill tore off is cut away.

  Args:
    path: of the file, new or of an earlier run.

  Raises:
    ValueError: a whole line that is no JSON object.
  """

  def __init__(self, path: str):
    self._path = pathlib.Path(path)
    self.rows: list[dict[str, Any]] = []
    self._path.parent.mkdir(parents=True, exist_ok=True)
    data = self._path.read_bytes() if self._path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
      try:
        row = json.loads(line)
      except ValueError:
        row = None
      if not isinstance(row, dict):
        raise ValueError(
          f"--out: line {number} of {path} is no JSON object, expected a file"
          " of this command or a new one; name another."
        )
      self.rows.append(row)
    if len(whole) < len(data):
      os.truncate(self._path, len(whole))

  def add(self, row: Mapping[str, Any]) -> None:
    """Appends one line, whole."""
    self.rows.append(dict(row))
    with self._path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(row, ensure_ascii=False) + "\n")
