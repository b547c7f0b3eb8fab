"""Writes parquet files as the Hugging Face hub stores data sets of pictures."""

import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
STRING = pa.string()


def image(data: bytes | None) -> dict[str, Any]:
  """The cell of a picture; its path says nothing about the format."""
  return {"bytes": data, "path": "image.png"}


def write(
  path: pathlib.Path,
  columns: Mapping[str, pa.DataType],
  rows: Sequence[Mapping[str, Any]],
  *,
  group: int = 2,
) -> None:
  """A file of row groups of `group` rows; fields left out are null."""
  features = {
    name: {"_type": "Image"}
    if kind == IMAGE
    else {"dtype": str(kind), "_type": "Value"}
    for name, kind in columns.items()
  }
  schema = pa.schema(
    list(columns.items()),
    metadata={"huggingface": json.dumps({"info": {"features": features}})},
  )
  table = pa.Table.from_pylist(
    [{name: row.get(name) for name in columns} for row in rows], schema
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  pq.write_table(table, path, row_group_size=group)
