"""AnyEdit: 2.5 million edits of 25 types with captions, in parquet.

Columns: `edit_instruction`, `edit_type`, `image_file`, `edited_file`,
`visual_input` (null but for the types visual_*), `output` (caption of the
target), and `image_id`, `input` (caption of the source), which are not used.
Files: `data/train-*.parquet`, `data/validation-*.parquet`. The view of the
data set that has one split a type (`anyedit-split`) reads the same way with
that split's name, or with `split="*"`.

The files hold one type after the other, and so does this source. Nothing has
to be shuffled here: training visits the records of a feature set in an order
of its own.

Instructions of the visual types name the second picture by the placeholder
`[v*]`. It is kept by default: it is the one sign that all of them share, and
a user can type it. Taking it out would leave sentences without an object.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet_source

NAME = "anyedit"
LICENSE = "cc-by-4.0"
PLACEHOLDER = "[v*]"
_VISUAL = "visual_"
_COLUMNS = ("edit_instruction", "edit_type", "image_file", "edited_file")
_CAPTION = "output"
_SECOND = "visual_input"
# One type under two names.
_SPELLINGS = {"tone_transfer": "tune_transfer"}


def open_source(
  root: str | os.PathLike,
  *,
  visual: bool = False,
  edit_types: str | Sequence[str] = (),
  split: str = "train",
  placeholder: str = PLACEHOLDER,
) -> base.Source:
  """Opens the rows with one, or with two condition pictures.

  Args:
    root: The folder, as downloaded.
    visual: False: the types that need the source picture alone. True: the
      types visual_*, with `visual_input` as the second condition picture.
    edit_types: Only these; none: all.
    split: Start of the files' names before the first dash.
    placeholder: What stands for `[v*]` in the instructions.

  Raises:
    SourceError: no files or rows, missing columns, or an unknown type.
  """
  columns = (*_COLUMNS, _CAPTION) + ((_SECOND,) if visual else ())
  rows = parquet_source.open_rows(root, f"**/{split}-*.parquet", columns)
  types = [_spelling(name) for name in rows.column("edit_type")]
  wanted = (edit_types,) if isinstance(edit_types, str) else edit_types
  chosen = [
    row
    for row in parquet_source.pick(
      types, [_spelling(name) for name in wanted], f"{NAME} edit_types"
    )
    if (types[row] or "").startswith(_VISUAL) == visual
  ]
  return parquet_source.ParquetSource(
    rows, _Edits(visual=visual, placeholder=placeholder), chosen
  )


@dataclasses.dataclass(frozen=True)
class _Edits:
  visual: bool
  placeholder: str

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{fields['edit_type'] or 'unknown'}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    instruction = parquet_source.text(_not_none(row.fields[_COLUMNS[0]]))
    caption = parquet_source.text(
      _not_none(row.fields[_CAPTION]), "empty caption"
    )
    conditions = [row.picture("image_file")]
    if self.visual:
      conditions.append(row.picture(_SECOND))
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=LICENSE,
      caption_source="dataset",
      target=row.picture("edited_file"),
      conditions=tuple(conditions),
      instruction=re.sub(
        re.escape(PLACEHOLDER),
        lambda _: self.placeholder,
        instruction,
        flags=re.IGNORECASE,
      ),
      caption=caption,
    )


def _spelling(edit_type: str | None) -> str | None:
  return _SPELLINGS.get(edit_type, edit_type)


def _not_none(value: str | None) -> str | None:
  """The data set's pipeline writes null as "None"."""
  return None if value == "None" else value
