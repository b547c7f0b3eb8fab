"""What became of each item by the official scorer's files."""

import pathlib
from collections.abc import Sequence

from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import layout
from unialign_jax.evals.gedit import scores
from unialign_jax.evals.gedit import tables

# Where an API's filter of contents refuses most, which becomes SC 0.
_FILTERED = ("motion_change", "ps_human")


def read(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  path: pathlib.Path,
  language: str,
) -> scores.Found:
  """Reads the files.

  An item without a row lacks its picture, unless that is in the folder.

  Args:
    out: the folder of results.
    items: that there should be rows of.
    path: of the files, see `tables.read`.
    language: of the rows that count.

  Raises:
    ValueError: no such files, rows of other items, or a judge's from here.
  """
  rows = [
    (name, sample)
    for name, sample in tables.read(path)
    if name.split("/")[1] == language
  ]
  by_name = dict(rows)
  if unknown := sorted(set(by_name) - {item.name for item in items}):
    raise ValueError(
      f"--set results={path}: got rows of {unknown[:20]}, which --data does"
      " not have; give the files that belong together."
    )
  without = {
    item.name: _without_row(out, item)
    for item in items
    if item.name not in by_name
  }
  every = by_name | without
  return scores.Found(
    samples=[every[item.name] for item in items],
    # The script counts every row.
    rows=[sample for _, sample in rows] + list(without.values()),
    notes=_notes(rows),
  )


def _without_row(out: pathlib.Path, item: dataset.Item) -> scores.Sample:
  if not (out / layout.edited(item)).exists():
    return scores.missing(item.task, item.intersection)
  return scores.Sample(
    task=item.task,
    status="no row",
    sc=None,
    pq=None,
    intersection=item.intersection,
  )


def _notes(rows: Sequence[tables.Row]) -> list[str]:
  """What the files leave open."""
  by_name = dict(rows)
  notes = []
  if twice := len(rows) - len(by_name):
    notes.append(
      f"{twice} rows are of pictures that have one already, which a scoring"
      " that was cut off leaves: the last counts, and as released all do."
    )
  zeros = sum(
    sample.sc == 0 and sample.task in _FILTERED for sample in by_name.values()
  )
  if zeros:
    notes.append(
      f"{zeros} pictures of {' and '.join(_FILTERED)} have SC 0, which is also"
      " what a refusal by the judge's filter becomes; the files do not tell"
      " which."
    )
  return notes
