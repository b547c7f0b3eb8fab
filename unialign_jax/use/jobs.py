"""Lists of work for the command lines: lines of text or JSON.

A JSON line holds the fields of a task and nothing else; pictures are named
relative to the file.
"""

import pathlib
from collections.abc import Collection
from typing import Any

from unialign_jax import strict_json

# Decoded by what is in the file; these are the names that a folder is read by.
_SUFFIXES = (
  *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"),
  *(".tif", ".tiff", ".ppm", ".pgm"),
)


def read_jsonl(path: str, fields: Collection[str]) -> list[dict[str, Any]]:
  """All lines, with each `image` (a name or several) as a list of full paths.

  Args:
    path: of the file.
    fields: that a line may have.

  Raises:
    ValueError: every line that is no such object, in one message.
  """
  rows, problems = [], []
  for number, line in enumerate(read_lines(path), start=1):
    try:
      row = strict_json.document(line)
    except ValueError as error:
      problems.append(f"line {number}: no JSON ({error})")
      continue
    if not isinstance(row, dict) or (unknown := set(row) - set(fields)):
      got = sorted(unknown) if isinstance(row, dict) else type(row).__name__
      problems.append(f"line {number}: got {got}")
      continue
    names = row.get("image", [])
    names = [names] if isinstance(names, str) else names
    row["image"] = [str(pathlib.Path(path).parent / name) for name in names]
    rows.append(row)
  if problems:
    raise ValueError(
      f"{path}: expected objects with fields of {sorted(fields)}:\n  "
      + "\n  ".join(problems)
    )
  return rows


def read_lines(path: str) -> list[str]:
  """Lines that are not blank.

  Raises:
    ValueError: a file that cannot be read as UTF-8, or without any line.
  """
  try:
    text = pathlib.Path(path).read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: cannot be read as text ({error}).") from error
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  if not lines:
    raise ValueError(f"{path}: got an empty file, expected a line or more.")
  return lines


def pictures_of(folder: str) -> list[str]:
  """Paths of the pictures in a folder, by name, folders in it included.

  Raises:
    ValueError: no such folder, or none in it.
  """
  found = sorted(
    str(path)
    for path in pathlib.Path(folder).rglob("*")
    if path.suffix.lower() in _SUFFIXES and path.is_file()
  )
  if not found:
    raise ValueError(
      f"{folder}: got no picture, expected a folder with files of"
      f" {', '.join(_SUFFIXES)}."
    )
  return found
