"""SEED-Data-Edit: instruction edits in three parts, without captions.

  part 1  3.5M automatic pairs   auto_editing/openimages
  part 2  52K pairs from the net real_editing
  part 3  95K pairs by hand, in sessions of up to five turns
                                 multi_turn_editing

Each part has `annotations/*.jsonl` (part 1 also `annotations_GPT4V/*.jsonl`,
rewritten instructions) and its pictures in split `.tar.gz` files, which are
to be joined and unpacked, or joined and stored again as plain `.tar`.

Parts 1 and 2 have `source_image`, `target_image` and `instruction`. Part 3
has `source_image`, `instruction_1` ... and `edit_image_1` ...; turn k is a
sample from the last picture before it that exists to `edit_image_k`, and a
turn whose picture is null is rejected.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import json_source
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import picture_tree

NAME = "seed_data_edit"
LICENSE = "cc-by-nc-4.0"


@dataclasses.dataclass(frozen=True)
class _Part:
  folder: str
  images: str  # within the folder
  prefix: str  # before every path


_PARTS = {
  1: _Part("auto_editing/openimages", "", ""),
  2: _Part("real_editing", "images", ""),
  3: _Part("multi_turn_editing", "images", "data/"),
}


def open_source(
  root: str | os.PathLike,
  *,
  part: int = 1,
  folder: str | None = None,
  annotations: str = "annotations",
  images: str | None = None,
  prefix: str | None = None,
  min_side: int = 400,
  max_aspect: float = 1.5,
) -> base.Source:
  """Opens one part.

  Args:
    root: Holds the part's folder, as downloaded.
    part: 1, 2 or 3.
    folder: The part's folder below root; None: as in the list above.
    annotations: Folder of the jsonl files in the part's folder.
    images: Folder of the pictures in the part's folder; None: the folder
      itself for part 1, "images" for parts 2 and 3.
    prefix: What goes before the rows' paths to find them there; None: "data/"
      for part 3, else nothing.
    min_side: Least short side of all pictures in pixels; the default and the
      next are those of SEED-X, 0 turns each off.
    max_aspect: Greatest ratio of long to short side.

  Raises:
    SourceError: files are missing or not yet unpacked, or a bad option.
  """
  if part not in _PARTS:
    raise base.SourceError(
      f"{NAME}: got part={part!r}, expected one of {sorted(_PARTS)}"
    )
  layout = _PARTS[part]
  home = epath.Path(root) / (layout.folder if folder is None else folder)
  tree = picture_tree.open_tree(
    home / (layout.images if images is None else images)
  )
  options = {
    "prefix": layout.prefix if prefix is None else prefix,
    "min_side": min_side,
    "max_aspect": max_aspect,
  }
  return json_source.JsonSource(
    [
      json_source.Table(
        rows=jsonl.Lines(path),
        tree=tree,
        format=_Turns(**options) if part == 3 else _Pair(**options),
        name=f"{annotations}/{path.stem}",
        source=f"{NAME}/part{part}",
        license=LICENSE,
      )
      for path in jsonl.find(home / annotations, "*.jsonl")
    ]
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pair:
  """Parts 1 and 2."""

  prefix: str
  min_side: int
  max_aspect: float

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    del fields  # every row is one sample
    return (0,)

  def build(self, row: json_source.Row) -> base.Raw:
    return self._sample(
      row,
      instruction=json_source.value(row.fields, "instruction"),
      source=json_source.value(row.fields, "source_image"),
      target=json_source.value(row.fields, "target_image"),
    )

  def _sample(
    self, row: json_source.Row, *, instruction: Any, source: Any, target: Any
  ) -> base.Raw:
    instruction = json_source.text(instruction)
    pictures = row.pictures(
      self.prefix + path if isinstance(path, str) and path else path
      for path in (target, source)
    )
    picture_size.check(
      pictures, min_side=self.min_side, max_aspect=self.max_aspect
    )
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=row.license,
      caption_source="",
      target=pictures[0],
      conditions=pictures[1:],
      instruction=instruction,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Turns(_Pair):
  """Part 3: sample k of a row is its turn k, from 1."""

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    turns = list(
      itertools.takewhile(
        lambda k: {f"instruction_{k}", f"edit_image_{k}"} & fields.keys(),
        itertools.count(1),
      )
    )
    if not turns:
      json_source.value(fields, "instruction_1")  # says what is missing
    return turns

  def build(self, row: json_source.Row) -> base.Raw:
    source = json_source.value(row.fields, "source_image")
    for k in range(1, row.part):
      source = row.fields.get(f"edit_image_{k}") or source
    return self._sample(
      row,
      instruction=json_source.value(row.fields, f"instruction_{row.part}"),
      source=source,
      target=json_source.value(row.fields, f"edit_image_{row.part}"),
    )
