"""PromptFix: a million restorations and removals, in parquet.

Columns: `input_img`, `processed_img`, `instruction`, `task_id`, and
`auxiliary_prompt`, which is not used: it describes the flaws of the input and
is no caption of the target. Files: `data/train-*.parquet`. There are no
captions.

Source and target may differ in size. Framing brings the source to the
target's size, and refuses pairs whose aspect ratios differ.
"""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet_source

NAME = "promptfix"
LICENSE = "academic, no commercial use"
_COLUMNS = ("input_img", "processed_img", "instruction", "task_id")


def open_source(
  root: str | os.PathLike, *, task_ids: str | Sequence[str] = ()
) -> base.Source:
  """Opens the training split, the only one.

  Args:
    root: The folder, as downloaded.
    task_ids: Only these values of `task_id`; none: all.

  Raises:
    SourceError: no files or rows, missing columns, or an unknown task.
  """
  rows = parquet_source.open_rows(root, "**/train-*.parquet", _COLUMNS)
  chosen = parquet_source.pick(
    rows.column("task_id"), task_ids, f"{NAME} task_ids"
  )
  return parquet_source.ParquetSource(rows, _Edits(), chosen)


class _Edits:
  """Rows of any task."""

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{fields['task_id'] or 'unknown'}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=LICENSE,
      caption_source="",
      target=row.picture("processed_img"),
      conditions=(row.picture("input_img"),),
      instruction=row.text("instruction"),
    )
