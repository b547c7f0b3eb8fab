"""OmniEdit-Filtered-1.2M: edits of seven skills with scores, in parquet.

Columns: `task`, `src_img`, `edited_img`, `edited_prompt_list` (the same
instruction in several wordings), `sc_score_1`, `sc_score_2`, `pq_score`,
`o_score`, and ids, sizes and reasonings, which are not used. Files:
`data/train-*.parquet` and `data/dev-*.parquet`. There are no captions.
"""

import hashlib
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import rejection

NAME = "omniedit"
LICENSE = "mit"
_COLUMNS = ("task", "src_img", "edited_img", "edited_prompt_list")
_SCORES = ("sc_score_1", "sc_score_2", "pq_score", "o_score")


def open_source(
  root: str | os.PathLike,
  *,
  tasks: str | Sequence[str] = (),
  split: str = "train",
  min_sc_score_1: float = 0,
  min_sc_score_2: float = 0,
  min_pq_score: float = 0,
  min_o_score: float = 0,
) -> base.Source:
  """Opens a split.

  The release is filtered already, so that no limit is on by default. Of the
  wordings of an instruction, a hash of the key picks one.

  Args:
    root: The folder, as downloaded.
    tasks: Only these values of `task`; none: all.
    split: "train" or "dev".
    min_sc_score_1: Least `sc_score_1`, semantic consistency; 0: any.
    min_sc_score_2: Least `sc_score_2`, its second part; 0: any.
    min_pq_score: Least `pq_score`, perceptual quality; 0: any.
    min_o_score: Least `o_score`, overall; 0: any.

  Raises:
    SourceError: no files or rows, missing columns, or an unknown task.
  """
  limits = (min_sc_score_1, min_sc_score_2, min_pq_score, min_o_score)
  least = {name: limit for name, limit in zip(_SCORES, limits) if limit}
  rows = parquet_source.open_rows(
    root,
    f"**/{split}-*.parquet",
    (*_COLUMNS, *least),
    optional=[name for name in _SCORES if name not in least],
  )
  chosen = parquet_source.pick(rows.column("task"), tasks, f"{NAME} tasks")
  return parquet_source.ParquetSource(rows, _Edits(least), chosen)


class _Edits:
  """Rows with scores.

  Args:
    least: Least value of some scores.
  """

  def __init__(self, least: Mapping[str, float]):
    self._least = least

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{fields['task'] or 'unknown'}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    scores = {
      name: float(row.fields[name])
      for name in _SCORES
      if row.fields[name] is not None
    }
    parquet_source.at_least(scores, self._least)
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=LICENSE,
      caption_source="",
      target=row.picture("edited_img"),
      conditions=(row.picture("src_img"),),
      instruction=_one(row.fields["edited_prompt_list"], row.key),
      scores=scores,
    )


def _one(wordings: Sequence[str | None] | None, key: str) -> str:
  """The same one of the wordings in every run."""
  wordings = [w.strip() for w in wordings or () if w and w.strip()]
  if not wordings:
    raise rejection.Rejection("empty instruction")
  digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
  return wordings[int.from_bytes(digest, "little") % len(wordings)]
