"""Subjects200K: pairs of pictures of one subject, in parquet.

Columns: `image` (both pictures side by side), `description` (a struct with
`description_0` of the left, `description_1` of the right picture),
`quality_assessment` (a struct of three grades from 0 to 5, or null) and
`collection`. Files: `data/train-*.parquet`. Collections 1 and 2 have pictures
of 512 px, collection 3 (a repository of its own) of 1024 px.

A row gives two samples: the left picture made from the right one and the
right from the left. Prompt and caption are the target's description.
"""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import rejection

NAME = "subjects200k"
LICENSE = "apache-2.0"
_COLUMNS = ("image", "description", "quality_assessment")
_GRADES = ("compositeStructure", "objectConsistency", "imageQuality")
_SIDES = (1024, 512)  # of one picture, in pixels
_MAX_PADDING = 32  # in pixels; 8 and 16 are known

Box = tuple[int, int, int, int]


def open_source(
  root: str | os.PathLike,
  *,
  collections: str | Sequence[str] = (),
  min_quality: int = 5,
) -> base.Source:
  """Opens the pairs, both ways round.

  Args:
    root: The folder, as downloaded.
    collections: Only these values of `collection`; none: all.
    min_quality: Least value of all three grades; pairs that were not graded
      are rejected with those below. 0: all pairs.

  Raises:
    SourceError: no files or rows, missing columns, or an unknown collection.
  """
  rows = parquet_source.open_rows(
    root, "**/train-*.parquet", _COLUMNS, optional=("collection",)
  )
  chosen = parquet_source.pick(
    rows.column("collection"), collections, f"{NAME} collections"
  )
  return parquet_source.ParquetSource(
    rows,
    _Pairs(min_quality),
    np.repeat(chosen, 2),
    np.tile([0, 1], len(chosen)),
  )


class _Pairs:
  """Part 0 makes the left picture, part 1 the right one.

  Args:
    min_quality: Least value of all grades; 0: any.
  """

  def __init__(self, min_quality: int):
    self._least = dict.fromkeys(_GRADES, min_quality)

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{fields['collection'] or 'unknown'}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    grades = row.fields["quality_assessment"] or {}
    scores = {
      name: float(grades[name])
      for name in _GRADES
      if grades.get(name) is not None
    }
    parquet_source.at_least(scores, self._least)
    description = parquet_source.text(
      (row.fields["description"] or {}).get(f"description_{row.part}"),
      "empty caption",
    )
    both = row.picture("image")
    boxes = _boxes(both)
    return base.Raw(
      key=row.key,
      task="personalise",
      source=row.source,
      license=LICENSE,
      caption_source="dataset",
      target=base.Picture(both.data, boxes[row.part]),
      conditions=(base.Picture(both.data, boxes[1 - row.part]),),
      instruction=description,
      caption=description,
      scores=scores,
    )


def _boxes(picture: base.Picture) -> tuple[Box, Box]:
  """Where the left and the right picture are.

  With S for a picture's side and p for the padding, the whole is 2 S + 3 p
  wide: one p between the pictures and at both ends. The data set's own card
  and loader give p as 16 and as 8. Wholes that are exactly twice as wide as
  high are read as two tiles with the padding around each.

  Raises:
    Rejection: neither.
  """
  if (size := picture_size.read(picture)) is None:
    raise rejection.Rejection("undecodable image")
  width, height = size
  side = next((side for side in _SIDES if side <= height), 0)
  top = (height - side) // 2
  padding, rest = divmod(width - 2 * side, 3)
  if width == 2 * height:
    padding, rest = top, 0
    lefts = (top, height + top)
  else:
    lefts = (padding, side + 2 * padding)
  # With more padding than that, these are pictures of another size.
  if not side or rest or padding < 0 or max(padding, top) > _MAX_PADDING:
    raise rejection.Rejection(
      "unexpected size",
      f"got {width} x {height}, expected two pictures of {_SIDES} px",
    )
  left, right = ((x, top, x + side, top + side) for x in lefts)
  return left, right
