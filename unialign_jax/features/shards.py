"""Shard files of a feature set: written whole or not at all, then checked.

A shard is written under a temporary name and renamed; then its entry (counts,
checksum and rejected items, JSON) is put in `parts/` the same way. A shard
with an entry is finished and is never written again; the entries become the
manifest. Where every item was rejected there is an entry and no file.
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from collections.abc import Mapping
from concurrent import futures
from typing import Any

from array_record.python import array_record_module
from etils import epath

from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import rejects as rejects_lib
from unialign_jax.features import schema

_OPTIONS = "group_size:1,uncompressed"  # 16 x faster shuffled reads than 64
_PARTS = "parts"
_OPEN_THREADS = 32


@dataclasses.dataclass(kw_only=True)
class Outcome:
  """What became of the items of one shard, beside its records."""

  rejects: list[rejects_lib.Reject] = dataclasses.field(default_factory=list)
  truncated_prompts: int = 0
  truncated_captions: int = 0


def write(
  folder: epath.Path,
  number: int,
  records: Iterable[schema.Record],
  layout: manifest_lib.Layout,
  outcome: Outcome,
) -> manifest_lib.Shard:
  """Writes shard `number` and its entry.

  Args:
    folder: The feature set.
    number: Of the shard, from 0.
    records: Consumed while writing.
    layout: Kept with the entry, so that a resumed run can compare.
    outcome: Read after the last record.
  """
  path = folder / _name(number)
  num_records, num_bytes, checksum = _write_records(path, records)
  shard = manifest_lib.Shard(
    name=path.name,
    records=num_records,
    bytes=num_bytes,
    sha256=checksum,
    skipped=len(outcome.rejects),
    truncated_prompts=outcome.truncated_prompts,
    truncated_captions=outcome.truncated_captions,
  )
  entry = manifest_lib.Entry(
    layout=layout, shard=shard, rejects=tuple(outcome.rejects)
  )
  files.write(entry_path(folder, number), manifest_lib.dumps(entry))
  return shard


def _write_records(
  path: epath.Path, records: Iterable[schema.Record]
) -> tuple[int, int, str]:
  """Number of records, bytes and checksum; without records there is no file."""
  stream = iter(records)
  first = next(stream, None)
  if first is None:
    return 0, 0, ""
  num_records = 1
  with files.written(path) as name:
    writer = array_record_module.ArrayRecordWriter(str(name), _OPTIONS)
    writer.write(schema.serialize(first))
    for record in stream:
      writer.write(schema.serialize(record))
      num_records += 1
    writer.close()
    return num_records, name.stat().st_size, files.sha256(name)


def finished(
  folder: epath.Path, number: int, layout: manifest_lib.Layout
) -> manifest_lib.Entry | None:
  """The entry of shard `number`, or None where it is still to be written.

  Raises:
    ValueError: the shard was written with another layout.
  """
  path = entry_path(folder, number)
  if not path.exists():
    return None
  entry = manifest_lib.load_entry(path)
  check_layout(entry.layout, dataclasses.asdict(layout), folder)
  size = files.size(folder / entry.shard.name) or 0
  return entry if size == entry.shard.bytes else None


def numbers(folder: epath.Path) -> list[int]:
  """Numbers of the shards that have an entry, in order."""
  found = []
  for path in (folder / _PARTS).glob("shard-*.json"):
    if match := re.fullmatch(r"shard-(\d+)\.json", path.name):
      found.append(int(match[1]))
  return sorted(found)


def check_begun(folder: epath.Path, settings: Mapping[str, Any]) -> None:
  """Refuses a folder that was begun with other settings.

  Args:
    folder: Where a feature set is, is begun, or is not.
    settings: Fields of `Layout`, as far as they are known.

  Raises:
    ValueError: which settings differ.
  """
  if (folder / manifest_lib.FILENAME).exists():
    check_layout(manifest_lib.load(folder).layout, settings, folder)
  elif begun := numbers(folder):
    entry = manifest_lib.load_entry(entry_path(folder, begun[0]))
    check_layout(entry.layout, settings, folder)


def check_layout(
  got: manifest_lib.Layout, expected: Mapping[str, Any], folder: epath.Path
) -> None:
  """Refuses to continue a feature set that was begun with other settings."""
  differing = [
    f"{name}: the folder has {value!r}, this run {expected[name]!r}"
    for name, value in dataclasses.asdict(got).items()
    if name in expected and value != expected[name]
  ]
  if differing:
    raise ValueError(
      f"feature set {folder} was begun with other settings: "
      + "; ".join(differing)
      + ". Write to another folder, or delete this one."
    )


def file_faults(folder: epath.Path, shard: manifest_lib.Shard) -> list[str]:
  """How the file of a shard differs from what was written."""
  path = folder / shard.name
  try:
    size = files.size(path)
    if size is None:
      return [f"{shard.name}: got no file, expected {shard.bytes} bytes"]
    if size != shard.bytes:
      return [f"{shard.name}: got {size} bytes, expected {shard.bytes}"]
    if (checksum := files.sha256(path)) != shard.sha256:
      return [f"{shard.name}: got sha256 {checksum}, expected {shard.sha256}"]
  except OSError as e:
    return [f"{shard.name}: got {e}, expected a file that can be read"]
  return []


def remove_temporaries(folder: epath.Path) -> None:
  """Removes what killed workers left behind, once every shard is finished."""
  # Not manifest.json's: another worker may be writing that very file.
  for pattern in ("*.arrayrecord", f"{_PARTS}/*.json"):
    for path in folder.glob(f"{pattern}{files.TEMPORARY}*"):
      path.unlink(missing_ok=True)


def checked_paths(
  folder: str | os.PathLike, manifest: manifest_lib.Manifest
) -> list[str]:
  """Paths of the shards, each with its record range as ArrayRecord takes it.

  Looks at the size of every shard and opens it for its record count; the
  contents are checked record by record when they are read.

  Raises:
    ManifestError: a shard is missing, truncated, empty or damaged.
  """
  folder = epath.Path(folder)

  def checked(shard: manifest_lib.Shard) -> str:
    path = folder / shard.name
    _expect(path, _size(path), shard.bytes, "bytes")
    _expect(path, _num_records(path), shard.records, "records")
    return f"{path}[0:{shard.records}]"

  with futures.ThreadPoolExecutor(_OPEN_THREADS) as executor:
    return list(executor.map(checked, manifest.shards))


def _expect(path: epath.Path, got: object, expected: int, unit: str) -> None:
  if got != expected or not expected:
    raise manifest_lib.ManifestError(
      f"shard {path}: got {got}, expected {expected or 'at least 1'} {unit};"
      " copy the shard again, or delete it and"
      f" {manifest_lib.FILENAME} and run `python -m unialign_jax.precompute`"
      " again"
    )


def _size(path: epath.Path) -> int | str:
  try:
    size = files.size(path)
  except OSError as e:
    return f"a file that this process may not read ({e})"
  return "no file" if size is None else size


def _num_records(path: epath.Path) -> int | str:
  try:
    reader = array_record_module.ArrayRecordReader(str(path))
    count = reader.num_records()
    reader.close()
  except RuntimeError as e:  # what ArrayRecord raises for a damaged file
    return f"a file that does not open ({e})"
  return count


def _name(number: int) -> str:
  return f"shard-{number:05d}.arrayrecord"


def entry_path(folder: epath.Path, number: int) -> epath.Path:
  """Where the entry of shard `number` is."""
  return folder / _PARTS / f"shard-{number:05d}.json"
