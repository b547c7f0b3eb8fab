"""The official scorer's CSV files, read and written.

`{name}_{group}_gpt_score.csv`, one a group. The scorer writes a row a picture
that it found, and one more for each time that it was cut off and started anew.
Beside files that were written here lies `MADE_BY`, so that they are not taken
for the scorer's, whatever their folder is called.
"""

import csv
import json
import math
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from etils import epath

from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import layout
from unialign_jax.evals.gedit import scores
from unialign_jax.features import files

# The spelling is the scorer's.
_SC, _PQ = "sementics_score", "quality_score"
COLUMNS = (
  *("source_image", "edited_image", "instruction", _SC, _PQ),
  *("intersection_exist", "instruction_language"),
)
MADE_BY = "made_by.json"
_PLACE = re.compile(r"(?:^|/)fullset/(?P<name>[^/]+/[^/]+/[^/]+)\.png$")
_BOOLEANS = {"True": True, "False": False, "": None}
Row = tuple[str, scores.Sample]  # `dataset.Item.name` and what became of it


def read(path: pathlib.Path) -> list[Row]:
  """The rows of a folder's files of groups, or of one file.

  Args:
    path: the folder eval_results_new, or e.g. the combined file.

  Raises:
    ValueError: no such file, rows of another kind, or such as `write` wrote.
  """
  made_by = (path if path.is_dir() else path.parent) / MADE_BY
  if made_by.exists():
    raise ValueError(
      f"--set results={path}: got files of a judge here ({made_by} says which),"
      " expected those of the official scorer, in a folder of their own."
    )
  paths = [path]
  if path.is_dir():
    paths = [
      found
      for group in dataset.GROUPS
      for found in sorted(path.glob(f"*_{group}_gpt_score.csv"))
    ]
    if not paths:
      raise ValueError(
        f"--set results={path}: got no *_GROUP_gpt_score.csv in it, expected"
        " the folder that the official scorer wrote into."
      )
  return [row for one in paths for row in _read(one)]


def write(
  out: pathlib.Path,
  backbone: str,
  items: Sequence[dataset.Item],
  samples: Sequence[scores.Sample],
  made_by: Mapping[str, str],
) -> None:
  """Writes scored samples where calculate_statistics.py looks for them.

  Args:
    out: the folder of results, whose name the script takes for the model's.
    backbone: the folder in it.
    items: of the samples.
    samples: one an item.
    made_by: who scored them, for `MADE_BY`.
  """
  folder = out / backbone / "eval_results_new"
  folder.mkdir(parents=True, exist_ok=True)
  # First, so that there is never a table without it.
  text = json.dumps(made_by, indent=2, ensure_ascii=False) + "\n"
  files.write(epath.Path(folder / MADE_BY), text.encode())
  for group in dataset.GROUPS:
    rows = [
      _row(out, item, sample)
      for item, sample in zip(items, samples, strict=True)
      if item.task == group and sample.status == scores.SCORED
    ]
    _write(folder / f"{out.resolve().name}_{group}_gpt_score.csv", rows)


def _read(path: pathlib.Path) -> list[Row]:
  try:
    with path.open(encoding="utf-8-sig", newline="") as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or ()
      table = [(reader.line_num, row) for row in reader]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(
      f"{path}: cannot be read ({error}); expected the official scorer's CSV"
    ) from error
  if missing := sorted(set(COLUMNS) - set(columns)):
    raise ValueError(
      f"{path}: got columns {list(columns)}, expected {missing} too; give the"
      " official scorer's CSV"
    )
  rows, problems = [], []
  for line, fields in table:
    try:
      rows.append(_sample(fields))
    except ValueError as error:
      problems.append(f"line {line}: {error}")
  if problems:
    raise ValueError(
      f"{path}: {len(problems)} rows are no results:\n  "
      + "\n  ".join(problems[:20])
    )
  return rows


def _sample(fields: Mapping[str, str]) -> Row:
  place = _PLACE.search((fields["edited_image"] or "").replace("\\", "/"))
  if place is None:
    raise ValueError(
      f"edited_image: got {fields['edited_image']!r}, expected"
      " .../fullset/GROUP/LANGUAGE/KEY.png"
    )
  task, language, _ = place["name"].split("/")
  if task not in dataset.GROUPS:
    raise ValueError(f"got group {task!r}, expected one of {dataset.GROUPS}")
  if fields["instruction_language"] != language:
    raise ValueError(
      f"instruction_language: got {fields['instruction_language']!r}, expected"
      f" {language!r} as in the path"
    )
  if fields["intersection_exist"] not in _BOOLEANS:
    raise ValueError(
      f"intersection_exist: got {fields['intersection_exist']!r}, expected"
      " True or False"
    )
  sample = scores.Sample(
    task=task,
    status=scores.SCORED,
    sc=_number(_SC, fields[_SC]),
    pq=_number(_PQ, fields[_PQ]),
    intersection=_BOOLEANS[fields["intersection_exist"]],
  )
  return place["name"], sample


def _number(name: str, text: str | None) -> float:
  try:
    value = float(text or "")
  except ValueError:
    value = math.nan
  if not 0 <= value <= 10:
    raise ValueError(f"{name}: got {text!r}, expected a number from 0 to 10")
  return value


def _row(
  out: pathlib.Path, item: dataset.Item, sample: scores.Sample
) -> dict[str, object]:
  return {
    "source_image": str(out / layout.source(item)),
    "edited_image": str(out / layout.edited(item)),
    "instruction": item.instruction,
    _SC: sample.sc,
    _PQ: sample.pq,
    "intersection_exist": ""
    if item.intersection is None
    else item.intersection,
    "instruction_language": item.language,
  }


def _write(path: pathlib.Path, rows: Iterable[Mapping[str, object]]) -> None:
  with path.open("w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
