"""Shard files of a feature set: written whole or not at all, then checked.

A shard is written under a temporary name and renamed; then its entry (counts
and checksum, JSON) is put in `parts/` the same way. A shard with an entry is
finished and is never written again; the entries become the manifest.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from concurrent import futures

from array_record.python import array_record_module

from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema

_OPTIONS = "group_size:1,uncompressed"  # 16 x faster shuffled reads than 64
_PARTS = "parts"
_OPEN_THREADS = 32


@dataclasses.dataclass(kw_only=True)
class Counts:
  """What became of the samples of one shard."""

  skipped: int = 0
  truncated_prompts: int = 0
  truncated_captions: int = 0


def write(
  folder: pathlib.Path,
  number: int,
  records: Iterable[schema.Record],
  layout: manifest_lib.Layout,
  counts: Counts,
) -> None:
  """Writes shard `number` and its entry.

  Args:
    folder: The feature set.
    number: Of the shard, from 0.
    records: At least one; consumed while writing.
    layout: Kept with the entry, so that a resumed run can compare.
    counts: Read after the last record.

  Raises:
    ValueError: there is no record.
  """
  path = folder / _name(number)
  temporary = files.temporary(path)
  num_records = 0
  writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
  for record in records:
    writer.write(schema.serialize(record))
    num_records += 1
  writer.close()
  if not num_records:
    raise ValueError(
      f"{path}: got no record, expected at least one: every sample of the"
      " shard was skipped; see the log for the reasons"
    )
  os.replace(temporary, path)
  shard = manifest_lib.Shard(
    name=path.name,
    records=num_records,
    bytes=path.stat().st_size,
    sha256=files.sha256(path),
    **dataclasses.asdict(counts),
  )
  entry = manifest_lib.Entry(layout=layout, shard=shard)
  files.write(_entry_path(folder, number), manifest_lib.dumps(entry))


def finished(
  folder: pathlib.Path, number: int, layout: manifest_lib.Layout
) -> manifest_lib.Shard | None:
  """The entry of shard `number`, or None where it is still to be written.

  Raises:
    ValueError: the shard was written with another layout.
  """
  path = _entry_path(folder, number)
  if not path.exists():
    return None
  entry = manifest_lib.load_entry(path)
  check_same_layout(entry.layout, layout, folder)
  file = folder / entry.shard.name
  if not file.exists() or file.stat().st_size != entry.shard.bytes:
    return None
  return entry.shard


def check_same_layout(
  got: manifest_lib.Layout, layout: manifest_lib.Layout, folder: pathlib.Path
) -> None:
  """Refuses to continue a feature set that was begun with other settings."""
  expected = dataclasses.asdict(layout)
  differing = [
    f"{name}: the folder has {value!r}, this run {expected[name]!r}"
    for name, value in dataclasses.asdict(got).items()
    if value != expected[name]
  ]
  if differing:
    raise ValueError(
      f"feature set {folder} was begun with other settings: "
      + "; ".join(differing)
      + ". Write to another folder, or delete this one."
    )


def remove_temporaries(folder: pathlib.Path) -> None:
  """Removes what killed workers left behind, once every shard is finished."""
  # Not manifest.json's: another worker may be writing that very file.
  for pattern in ("*.arrayrecord", f"{_PARTS}/*.json"):
    for path in folder.glob(f"{pattern}{files.TEMPORARY}*"):
      path.unlink(missing_ok=True)


def checked_paths(
  folder: pathlib.Path, manifest: manifest_lib.Manifest
) -> list[str]:
  """Paths of the shards, each with its record range as ArrayRecord takes it.

  Looks at the size of every shard and opens it for its record count; the
  contents are checked record by record when they are read.

  Raises:
    ManifestError: a shard is missing, truncated, empty or damaged.
  """

  def checked(shard: manifest_lib.Shard) -> str:
    path = folder / shard.name
    got = path.stat().st_size if path.exists() else "no file"
    _expect(path, got, shard.bytes, "bytes")
    _expect(path, _num_records(path), shard.records, "records")
    return f"{path}[0:{shard.records}]"

  with futures.ThreadPoolExecutor(_OPEN_THREADS) as executor:
    return list(executor.map(checked, manifest.shards))


def _expect(path: pathlib.Path, got: object, expected: int, unit: str) -> None:
  if got != expected or not expected:
    raise manifest_lib.ManifestError(
      f"shard {path}: got {got}, expected {expected or 'at least 1'} {unit};"
      " copy the shard again, or delete it and"
      f" {manifest_lib.FILENAME} and run `python -m unialign_jax.precompute`"
      " again"
    )


def _num_records(path: pathlib.Path) -> int | str:
  try:
    reader = array_record_module.ArrayRecordReader(str(path))
    count = reader.num_records()
    reader.close()
  except RuntimeError as e:  # what ArrayRecord raises for a damaged file
    return f"a file that does not open ({e})"
  return count


def _name(number: int) -> str:
  return f"shard-{number:05d}.arrayrecord"


def _entry_path(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / _PARTS / f"shard-{number:05d}.json"
