"""GEdit-Bench's instructions and pictures (arXiv 2504.17761).

From the data set `stepfun-ai/GEdit-Bench` as it is downloaded (parquet) or
saved by `datasets` (arrow), 1212 rows in two languages; or from UniWorld-V1's
English repack, `gedit_edit.json` with pictures beside it, of 604.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from unialign_jax import strict_json
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import parquet

GROUPS = (
  *("background_change", "color_alter", "material_alter", "motion_change"),
  *("ps_human", "style_change", "subject-add", "subject-remove"),
  *("subject-replace", "text_change", "tone_transfer"),
)
LANGUAGES = ("en", "cn")
INPUT, RAW = "input_image", "input_image_raw"
NUMBER = 606  # rows of one language
_PACKED = "gedit_edit.json"
_PACKED_NUMBER = 604  # in UniWorld's repack, and nowhere else
_COLUMNS = ("task_type", "key", "instruction", "instruction_language")
_INTERSECTION = "Intersection_exist"
_MOST_PROBLEMS = 20

Picture = pathlib.Path | bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One edit that is wanted.

  Attributes:
    task: one of `GROUPS`.
    language: of the instruction, one of `LANGUAGES`.
    key: of the item within both.
    instruction: what is to be done.
    picture: what it is to be done to, encoded; None if not asked for.
    intersection: whether all models of the paper answered; None: not known.
  """

  task: str
  language: str
  key: str
  instruction: str
  picture: Picture | None
  intersection: bool | None

  @property
  def name(self) -> str:
    """Unique, and the way to its picture."""
    return f"{self.task}/{self.language}/{self.key}"


def read(
  data: pathlib.Path | None,
  language: str,
  *,
  column: str | None,
  images: pathlib.Path | None,
  partial: bool,
) -> list[Item]:
  """The items of a language, in the order of the files.

  Args:
    data: folder of the data set, or UniWorld's JSON file or its folder.
    language: one of `LANGUAGES`.
    column: `INPUT` or `RAW`: which picture; None for none.
    images: folder that the repack's paths are relative to; None for its own.
    partial: whether another number of items will do.

  Raises:
    ValueError: no such files, rows that are no items, or two of one name; a
      group without items, or another number than there should be.
  """
  if language not in LANGUAGES:
    raise ValueError(f"--set language={language}: expected one of {LANGUAGES}.")
  if data is None:
    raise ValueError(
      "--data: got none, expected the folder of stepfun-ai/GEdit-Bench, or"
      f" UniWorld's {_PACKED}."
    )
  rows, expected = _rows(data, column, images)
  found, problems = [], []
  for number, row in enumerate(rows):
    if text := _problem(row, column):
      problems.append(f"row {number}: {text}")
    elif row["instruction_language"] == language:
      found.append(_item(row, column))
  names = collections.Counter(item.name for item in found)
  problems += [
    f"{name}: got it {n} times" for name, n in names.items() if n > 1
  ]
  if problems:
    raise ValueError(
      f"{data}: {len(problems)} rows are not GEdit-Bench's; get the files"
      " again:\n  " + "\n  ".join(problems[:_MOST_PROBLEMS])
    )
  counts = collections.Counter(item.task for item in found)
  is_whole = len(found) == expected and set(counts) == set(GROUPS)
  if not is_whole and not partial:
    raise ValueError(
      f"{data}: got {len(found)} items in {language}, {dict(counts)}; expected"
      f" {expected} in {len(GROUPS)} groups. Get all files; --set partial=true"
      " takes a part."
    )
  return found


def _rows(
  data: pathlib.Path, column: str | None, images: pathlib.Path | None
) -> tuple[Iterable[Mapping[str, Any]], int]:
  """The rows of whichever files there are, and how many a language has."""
  if data.is_file():
    return _packed(data, images), _PACKED_NUMBER
  if not data.is_dir():
    raise ValueError(f"--data={data}: got no such folder.")
  if paths := dataset_files.find(data, "**/*.parquet"):
    columns = [*_COLUMNS, _INTERSECTION, *([column] if column else [])]
    return _all(parquet.Rows(paths, columns)), NUMBER
  if paths := dataset_files.find(data, "**/*.arrow"):
    return _arrow(paths), NUMBER
  if (data / _PACKED).is_file():
    return _packed(data / _PACKED, images), _PACKED_NUMBER
  raise ValueError(
    f"--data={data}: got neither *.parquet nor *.arrow nor {_PACKED} in it,"
    " expected the files of stepfun-ai/GEdit-Bench or UniWorld's."
  )


def _all(rows: parquet.Rows) -> Iterator[Mapping[str, Any]]:
  for number in range(len(rows)):
    yield rows[number]


def _arrow(paths: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
  """What `datasets.save_to_disk` wrote; one row's pictures at a time."""
  for path in paths:
    try:
      with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
          for number in range(batch.num_rows):
            yield batch.slice(number, 1).to_pylist()[0]
    except pa.ArrowException as error:
      raise ValueError(
        f"{path}: got {error}, expected what `datasets` saved; save it again"
      ) from error


def _packed(
  path: pathlib.Path, images: pathlib.Path | None
) -> Iterator[Mapping[str, Any]]:
  """UniWorld's file: {key: {"prompt", "id", "edit_type"}}."""
  try:
    entries = strict_json.read(path)
    rows = [
      {
        "task_type": entry["edit_type"],
        "key": key,
        "instruction": entry["prompt"],
        "instruction_language": "en",
        _INTERSECTION: None,
        INPUT: (images or path.parent) / entry["id"],
      }
      for key, entry in entries.items()
    ]
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path}: got {error!r}, expected an object of objects with prompt, id"
      " and edit_type, as UniWorld-V1 has it"
    ) from error
  for row in rows:
    yield row | {RAW: row[INPUT]}


def _problem(row: Mapping[str, Any], column: str | None) -> str:
  """What keeps a row from being an item; "" if nothing."""
  names = [*_COLUMNS, _INTERSECTION, *([column] if column else [])]
  if missing := sorted(set(names) - set(row)):
    return f"got {sorted(row)}, expected {missing} too"
  if row["task_type"] not in GROUPS:
    return f"task_type: got {row['task_type']!r}, expected one of {GROUPS}"
  if row["instruction_language"] not in LANGUAGES:
    got = row["instruction_language"]
    return f"instruction_language: got {got!r}, expected one of {LANGUAGES}"
  key = row["key"]
  if not isinstance(key, str) or not key or "/" in key or key.startswith("."):
    return f"key: got {key!r}, expected the name of a file"
  text = row["instruction"]
  if not isinstance(text, str) or not text.strip():
    return f"instruction: got {text!r}, expected a text"
  picture = _picture(row[column]) if column else b"none"
  if isinstance(picture, pathlib.Path) and not picture.is_file():
    return f"{column}: got no file {picture}; --set images=FOLDER has them?"
  return "" if picture else f"{column}: got no picture"


def _item(row: Mapping[str, Any], column: str | None) -> Item:
  return Item(
    task=row["task_type"],
    language=row["instruction_language"],
    key=row["key"],
    instruction=row["instruction"],
    picture=_picture(row[column]) if column else None,
    intersection=row[_INTERSECTION],
  )


def _picture(cell: Any) -> Picture | None:
  return cell if isinstance(cell, pathlib.Path) else parquet.image(cell)
