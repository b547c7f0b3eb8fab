"""The manifest of a feature set, from the entries of all its shards.

The worker that finds every shard finished calls it; so does `precompute
--merge`, where shards were written elsewhere and copied into one folder. Any
worker writes the same.
"""

import collections
import dataclasses
import os

from etils import epath

from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import rejects as rejects_lib
from unialign_jax.features import schema
from unialign_jax.features import shards

_MOST_NAMED = 10  # missing shards that an error lists


def merge(folder: str | os.PathLike) -> manifest_lib.Manifest:
  """Writes the manifest of a folder into which all shards were copied.

  Returns:
    The manifest; the one that is there already, if it is of these shards.

  Raises:
    ManifestError: a shard or the null prompt is missing, is not what its
      entry says, or belongs to another set.
  """
  folder = epath.Path(folder)
  numbers = shards.numbers(folder)
  if not numbers:
    raise manifest_lib.ManifestError(
      f"--merge: got no entry of a shard in {folder}/parts, expected those of"
      " all shards; copy the folders of the workers here, parts/ included"
    )
  layout = _load(folder, numbers[0]).layout
  if not layout.items:
    raise manifest_lib.ManifestError(
      f"--merge: got a set in {folder} whose source was a stream of unknown"
      " length, expected a known number of items; finish it with the command"
      " that began it"
    )
  expected = -(-layout.items // layout.shard_size)
  if faults := _faults(folder, numbers, layout, expected):
    raise manifest_lib.ManifestError(
      f"--merge: {folder} is not a whole feature set:\n  "
      + "\n  ".join(faults)
      + "\nCopy what is missing or differs from the host that wrote it, or run"
      " the command that wrote it again."
    )
  return write(folder, expected, layout)


def write(
  folder: epath.Path, num_shards: int, layout: manifest_lib.Layout
) -> manifest_lib.Manifest:
  """Writes rejects.jsonl and the manifest; every shard must be finished.

  Raises:
    ManifestError: the null prompt is missing, or no shard holds a record.
  """
  null_prompt = folder / manifest_lib.NULL_PROMPT_FILENAME
  if not null_prompt.exists():
    raise manifest_lib.ManifestError(
      f"{null_prompt}: got no file, expected the one that worker 0 writes; run"
      " worker 0, or copy the file from its folder"
    )
  found = []
  rejected = collections.Counter()
  with (
    files.written(folder / rejects_lib.FILENAME) as name,
    name.open("w", encoding="utf-8") as f,
  ):
    for number in range(num_shards):
      entry = _load(folder, number)
      f.write(rejects_lib.lines(entry.rejects))
      rejected.update(rejects_lib.count(entry.rejects))
      if entry.shard.records:
        found.append(entry.shard)
  if not found:
    raise manifest_lib.ManifestError(
      f"feature set {folder}: got no record, expected at least one; every item"
      f" was rejected:\n{rejects_lib.table(rejected, {})}"
    )
  manifest = manifest_lib.Manifest(
    schema_version=schema.SCHEMA_VERSION,
    layout=layout,
    null_prompt_sha256=files.sha256(null_prompt),
    shards=tuple(found),
    rejected=dict(sorted(rejected.items())),
  )
  files.write(folder / manifest_lib.FILENAME, manifest_lib.dumps(manifest))
  shards.remove_temporaries(folder)
  return manifest


def _load(folder: epath.Path, number: int) -> manifest_lib.Entry:
  return manifest_lib.load_entry(shards.entry_path(folder, number))


def _faults(
  folder: epath.Path,
  numbers: list[int],
  layout: manifest_lib.Layout,
  expected: int,
) -> list[str]:
  """What keeps the entries from being those of one whole set."""
  faults = []
  if missing := sorted(set(range(expected)) - set(numbers)):
    named = ", ".join(map(str, missing[:_MOST_NAMED]))
    more = ", ..." if len(missing) > _MOST_NAMED else ""
    faults.append(f"{len(missing)} of {expected} shards missing: {named}{more}")
  for number in numbers:
    entry = _load(folder, number)
    if number >= expected:
      faults.append(f"{entry.shard.name}: expected {expected} shards in all")
    if entry.layout != layout:
      faults.append(_difference(entry, layout, numbers[0]))
    if entry.shard.records:
      faults += shards.file_faults(folder, entry.shard)
  return faults


def _difference(
  entry: manifest_lib.Entry, layout: manifest_lib.Layout, first: int
) -> str:
  expected = dataclasses.asdict(layout)
  differing = [
    f"{name} {got!r}, not {expected[name]!r}"
    for name, got in dataclasses.asdict(entry.layout).items()
    if got != expected[name]
  ]
  return f"{entry.shard.name}: of another set than shard {first}: " + "; ".join(
    differing
  )
