"""MagicBrush: 8,807 hand-made edits in sessions of one to three turns.

Columns: `img_id`, `turn_index` (from 1), `source_img`, `instruction`,
`target_img`, and `mask_img`, which is not used. Files: `data/train-*.parquet`
and `data/dev-*.parquet`. Rows of one `img_id` are a session: the target of a
turn is the source of the next. There are no captions.
"""

import collections
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import rejection

NAME = "magicbrush"
LICENSE = "cc-by-4.0"
TURNS = ("all", "final")
_COLUMNS = ("img_id", "turn_index", "source_img", "instruction", "target_img")


def open_source(
  root: str | os.PathLike, *, turns: str = "all", split: str = "train"
) -> base.Source:
  """Opens the single turns, or whole sessions.

  Args:
    root: The folder, as downloaded.
    turns: "all": every row is a sample. "final": from the first source to the
      last target with all instructions one after the other, for sessions of
      two turns and more; the others are in "all" already. A session that has
      lost or doubled a turn is rejected as "broken session"; one that has
      lost its last turns cannot be told from a shorter one. That a turn's
      source is the target of the turn before is not checked.
    split: "train" or "dev".

  Raises:
    SourceError: no files or rows, missing columns, or an unknown option.
  """
  if turns not in TURNS:
    raise base.SourceError(
      f"{NAME}: got turns={turns!r}, expected one of {TURNS}"
    )
  rows = parquet_source.open_rows(root, f"**/{split}-*.parquet", _COLUMNS)
  if turns == "all":
    return parquet_source.ParquetSource(rows, _Edits(), range(len(rows)))
  sessions = _Sessions(rows)
  return parquet_source.ParquetSource(
    sessions, _Edits("final"), range(len(sessions))
  )


class _Edits:
  """A row, or a session that looks like one."""

  def __init__(self, part: str = "turn"):
    self._source = f"{NAME}/{part}"

  def source(self, fields: Mapping[str, Any]) -> str:
    del fields
    return self._source

  def build(self, row: parquet_source.Row) -> base.Raw:
    if broken := row.fields.get("broken"):
      raise rejection.Rejection("broken session", broken)
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=LICENSE,
      caption_source="",
      target=row.picture("target_img"),
      conditions=(row.picture("source_img"),),
      instruction=row.text("instruction"),
    )


class _Sessions:
  """Sessions as rows: the first one's source, the last one's target."""

  def __init__(self, rows: parquet.Rows):
    self._rows = rows
    members = collections.defaultdict(list)
    places = zip(rows.column("img_id"), rows.column("turn_index"))
    for row, (image, turn) in enumerate(places):
      members[image].append((turn, row))
    instructions = rows.column("instruction")
    self._sessions = []
    for image, turns in members.items():
      # One turn that is not the first is what is left of a longer session.
      if len(turns) == 1 and turns[0][0] == 1:
        continue
      turns.sort(key=lambda turn: (turn[0] is None, turn))
      order = [row for _, row in turns]
      self._sessions.append(
        {
          "name": f"session-{image}",
          "broken": _broken([turn for turn, _ in turns]),
          "first": order[0],
          "last": order[-1],
          "instruction": _joined([instructions[row] for row in order]),
        }
      )

  def __len__(self) -> int:
    return len(self._sessions)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    session = self._sessions[index]
    return session | {
      "source_img": self._rows[session["first"]]["source_img"],
      "target_img": self._rows[session["last"]]["target_img"],
    }

  def name(self, index: int) -> str:
    return self._sessions[index]["name"]


def _broken(turns: Sequence[int | None]) -> str:
  """What is wrong with the turns of a session; "" nothing."""
  expected = list(range(1, len(turns) + 1))
  if turns == expected:
    return ""
  return f"got turns {turns}, expected {expected}"


def _joined(instructions: Sequence[str | None]) -> str:
  """One after the other; "" where one of them is empty."""
  stripped = [(text or "").strip() for text in instructions]
  return parquet_source.sentences(stripped) if all(stripped) else ""
