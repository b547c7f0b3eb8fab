"""ImgEdit-Bench's basic suite (arXiv 2505.20275): edits of nine types.

The official `basic_edit.json`, {key: {"id", "prompt", "edit_type"}}, with the
pictures of Benchmark.tar (its folder singleturn/), unpacked or not; or the
parquet mirror, whose rows have the pictures in them.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from unialign_jax import strict_json
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import tars

# Items of each type in the official file.
COUNTS = {
  "add": 95,
  "adjust": 94,
  "extract": 117,
  "replace": 92,
  "remove": 86,
  "background": 94,
  "style": 100,
  "compose": 23,
  "action": 36,
}
NAME = "basic_edit.json"
_FOLDERS = ("", "singleturn", "Benchmark/singleturn", "benchmark/singleturn")
_COLUMNS = ("key", "edit_type", "prompt")
_IMAGE = "image"
_MOST_PROBLEMS = 20

Picture = pathlib.Path | bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One edit that is wanted.

  Attributes:
    key: unique, the name of its picture.
    kind: one of `COUNTS`.
    prompt: what is to be done.
    picture: what it is to be done to, encoded; None if not asked for.
  """

  key: str
  kind: str
  prompt: str
  picture: Picture | None


def read(
  data: pathlib.Path | None,
  *,
  images: pathlib.Path | None,
  has_pictures: bool,
  partial: bool,
) -> list[Item]:
  """The items, in the order of the file.

  Args:
    data: `basic_edit.json`, its folder, or a folder of parquet files.
    images: folder that the file's paths are relative to; None: found.
    has_pictures: whether the pictures are wanted.
    partial: whether other numbers of items will do.

  Raises:
    ValueError: no such files, entries that are no items, pictures that are
      missing, or other numbers than the official ones.
  """
  if data is None:
    raise ValueError(
      f"--data: got none, expected the folder of ImgEdit-Bench's {NAME} with"
      " its pictures, or the file."
    )
  path = data / NAME if data.is_dir() else data
  if path.is_file():
    place = (images or path.parent) if has_pictures else None
    rows = _official(path, place)
  elif data.is_dir() and (paths := dataset_files.find(data, "**/*.parquet")):
    rows = _mirror(paths, has_pictures)
  else:
    raise ValueError(
      f"--data={data}: got neither {NAME} nor *.parquet, expected the files of"
      " ImgEdit-Bench's basic suite."
    )
  found, problems = [], []
  for where, row in rows:
    text = _problem(row, has_pictures)
    if text:
      problems.append(f"{where}: {text}")
    else:
      found.append(Item(**row))
  keys = collections.Counter(item.key for item in found)
  problems += [f"{key}: got it {n} times" for key, n in keys.items() if n > 1]
  if problems:
    raise ValueError(
      f"{data}: {len(problems)} entries are not ImgEdit-Bench's, or lack their"
      " picture; get the files again:\n  "
      + "\n  ".join(problems[:_MOST_PROBLEMS])
    )
  counts = collections.Counter(item.kind for item in found)
  if counts != COUNTS and not partial:
    raise ValueError(
      f"{data}: got {len(found)} items, {dict(counts)}; expected"
      f" {sum(COUNTS.values())}, {COUNTS}. Get the whole file; --set"
      " partial=true takes a part of it."
    )
  return found


Rows = Iterator[tuple[str, dict[str, Any]]]


def _official(path: pathlib.Path, images: pathlib.Path | None) -> Rows:
  try:
    entries = strict_json.read(path)
    listed = [
      (key, entry["edit_type"], entry["prompt"], entry["id"])
      for key, entry in entries.items()
    ]
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path}: got {error!r}, expected an object of objects with id, prompt"
      " and edit_type"
    ) from error
  pictures = None if images is None else _Pictures(images)
  for key, kind, prompt, name in listed:
    picture = None if pictures is None else pictures.find(str(name))
    yield key, {"key": key, "kind": kind, "prompt": prompt, "picture": picture}


def _mirror(paths: Any, has_pictures: bool) -> Rows:
  columns = [*_COLUMNS, *([_IMAGE] if has_pictures else [])]
  rows = parquet.Rows(paths, columns)
  for number in range(len(rows)):
    row = rows[number]
    yield (
      rows.name(number),
      {
        "key": str(row["key"]),
        "kind": row["edit_type"],
        "prompt": row["prompt"],
        "picture": parquet.image(row[_IMAGE]) if has_pictures else None,
      },
    )


def _problem(row: Mapping[str, Any], has_pictures: bool) -> str:
  """What keeps a row from being an item; "" if nothing."""
  key, kind, prompt = row["key"], row["kind"], row["prompt"]
  if not key or "/" in key or key.startswith("."):
    return f"key: got {key!r}, expected the name of a file"
  if kind not in COUNTS:
    return f"edit_type: got {kind!r}, expected one of {list(COUNTS)}"
  if not isinstance(prompt, str) or not prompt.strip():
    return f"prompt: got {prompt!r}, expected a text"
  if has_pictures and not row["picture"]:
    return "got no picture; --set images=FOLDER has them?"
  return ""


class _Pictures:
  """The official pictures, in a folder or in the tar that they come in."""

  def __init__(self, root: pathlib.Path):
    self._root = root
    self._tree: tars.Tree | None = None

  def find(self, name: str) -> Picture | None:
    """A picture by the file's path; None where it is nowhere."""
    for folder in _FOLDERS:
      if (path := self._root / folder / name).is_file():
        return path
    if self._tree is None:
      self._tree = tars.Tree(self._root)
    for folder in _FOLDERS:
      try:
        return self._tree.read(f"{folder}/{name}".lstrip("/"))
      except KeyError:
        continue
    return None
