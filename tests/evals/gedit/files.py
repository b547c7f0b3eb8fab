"""Small files in GEdit-Bench's formats."""

import csv
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from unialign_jax.evals.gedit import dataset

COLUMNS = (
  *("source_image", "edited_image", "instruction", "sementics_score"),
  *("quality_score", "intersection_exist", "instruction_language"),
)


def picture(shade: int, size=(12, 8), form: str = "PNG") -> bytes:
  file = io.BytesIO()
  Image.new("RGB", size, (shade, 0, 0)).save(file, form)
  return file.getvalue()


def row(
  task: str, key: str, language: str = "en", shade: int = 100, **more: Any
) -> dict[str, Any]:
  fields = {
    "task_type": task,
    "key": key,
    "instruction": f"{task} {key} in {language}",
    "instruction_language": language,
    "input_image": {"bytes": picture(shade), "path": None},
    "input_image_raw": {
      "bytes": picture(shade + 1, (24, 16), "JPEG"),
      "path": None,
    },
    "Intersection_exist": True,
  }
  return fields | more


# Two groups in English, and one of their items in Chinese too.
ROWS = (
  row("color_alter", "k1", shade=10),
  row("color_alter", "k2", shade=20, Intersection_exist=False),
  row("ps_human", "k3", shade=30),
  row("color_alter", "k1", "cn", shade=10),
)


def write_parquet(
  folder: pathlib.Path, rows: Sequence[dict[str, Any]] = ROWS
) -> pathlib.Path:
  (folder / "data").mkdir(parents=True)
  half = len(rows) // 2
  for number, part in enumerate((rows[:half], rows[half:])):
    path = folder / "data" / f"train-0000{number}-of-00002.parquet"
    pq.write_table(pa.Table.from_pylist(list(part)), path)
  return folder


def write_arrow(
  folder: pathlib.Path, rows: Sequence[dict[str, Any]] = ROWS
) -> pathlib.Path:
  """As `datasets.DatasetDict.save_to_disk`."""
  place = folder / "train"
  place.mkdir(parents=True)
  table = pa.Table.from_pylist(list(rows))
  with (
    pa.OSFile(str(place / "data-00000-of-00001.arrow"), "wb") as file,
    pa.ipc.new_stream(file, table.schema) as stream,
  ):
    stream.write_table(table, max_chunksize=2)
  (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
  return folder


def write_packed(
  folder: pathlib.Path, rows: Sequence[dict[str, Any]] = ROWS[:3]
) -> pathlib.Path:
  """UniWorld's repack of English rows."""
  entries = {}
  for fields in rows:
    name = f"{fields['task_type']}/{fields['key']}.jpg"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fields["input_image"]["bytes"])
    entries[fields["key"]] = {
      "prompt": fields["instruction"],
      "id": name,
      "edit_type": fields["task_type"],
    }
  path = folder / "gedit_edit.json"
  path.write_text(json.dumps(entries))
  return path


def whole(language: str = "en", number: int = 606) -> list[dict[str, Any]]:
  """As many rows as the official data has of one language."""
  first = row(dataset.GROUPS[0], "", language)
  return [
    first | {"task_type": dataset.GROUPS[n % 11], "key": f"{n:04d}"}
    for n in range(number)
  ]


def write_scores(
  folder: pathlib.Path, rows: Sequence[tuple[Any, ...]]
) -> pathlib.Path:
  """The official CSVs of (task, language, key, SC, PQ, intersection)."""
  folder.mkdir(parents=True, exist_ok=True)
  for group in {task for task, *_ in rows}:
    path = folder / f"model_{group}_gpt_score.csv"
    with path.open("w", newline="") as file:
      writer = csv.DictWriter(file, COLUMNS)
      writer.writeheader()
      for task, language, key, sc, pq_, inside in rows:
        if task == group:
          place = f"/results/model/fullset/{task}/{language}/{key}"
          writer.writerow(
            {
              "source_image": f"{place}_SRCIMG.png",
              "edited_image": f"{place}.png",
              "instruction": "a, b",
              "sementics_score": sc,
              "quality_score": pq_,
              "intersection_exist": inside,
              "instruction_language": language,
            }
          )
  return folder
