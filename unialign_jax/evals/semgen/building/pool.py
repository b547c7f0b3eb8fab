"""The photographs that a set is chosen from: a folder, with COCO's captions."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from unialign_jax.use import jobs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
  """One photograph.

  Attributes:
    name: of its file, relative to the folder.
    path: of its file.
    caption: "" where none is known.
    coco_id: COCO's number; None elsewhere.
    license: its URL; "" where it is not known.
  """

  name: str
  path: pathlib.Path
  caption: str = ""
  coco_id: int | None = None
  license: str = ""


def read(
  folder: pathlib.Path, captions: pathlib.Path | None = None
) -> list[Candidate]:
  """The photographs of a folder, by name.

  Args:
    folder: with pictures, folders in it included.
    captions: COCO's `captions_*.json`; only pictures that it lists are taken,
      each with the caption of the lowest id.

  Raises:
    ValueError: no pictures, or another file than COCO's.
  """
  paths = [pathlib.Path(path) for path in jobs.pictures_of(str(folder))]
  if captions is None:
    return [
      Candidate(name=path.relative_to(folder).as_posix(), path=path)
      for path in paths
    ]
  known = _coco(captions)
  found = [
    Candidate(
      name=path.relative_to(folder).as_posix(), path=path, **known[path.name]
    )
    for path in paths
    if path.name in known
  ]
  if not found:
    raise ValueError(
      f"--captions: got {captions}, which lists none of the {len(paths)}"
      f" pictures in {folder}, expected the file of the same part of COCO"
    )
  return found


def _coco(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Fields of `Candidate` by name of file."""
  try:
    table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    licenses = {one["id"]: one["url"] for one in table.get("licenses", [])}
    first: dict[int, str] = {}
    for one in sorted(table["annotations"], key=lambda one: one["id"]):
      first.setdefault(one["image_id"], " ".join(one["caption"].split()))
    return {
      image["file_name"]: {
        "coco_id": image["id"],
        "caption": first.get(image["id"], ""),
        "license": licenses.get(image.get("license"), ""),
      }
      for image in table["images"]
    }
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"--captions: got {path}, which cannot be read ({error!r}), expected"
      " COCO's captions_*.json with images, annotations and licenses"
    ) from error
