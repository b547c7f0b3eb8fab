"""Reads a whole feature set again and holds it against its manifest."""

import collections
import dataclasses
import json
import os
from collections.abc import Iterator

import numpy as np
import safetensors
import safetensors.numpy
import tqdm
from array_record.python import array_record_module
from etils import epath

from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import rejects as rejects_lib
from unialign_jax.features import schema
from unialign_jax.features import shards

_RECORDS_AT_ONCE = 16
_HEADER = ("shard", "records", "MB", "rejected", "cut texts", "")
_ROW = "{:28} {:>9} {:>9} {:>9} {:>9}  {}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What was found.

  Attributes:
    table: One line a shard, for people.
    faults: Every difference from the manifest; none in a sound set.
  """

  table: str
  faults: tuple[str, ...]


def verify(folder: str | os.PathLike) -> Report:
  """Checks files, checksums, every record, rejected items and null prompt.

  Raises:
    ManifestError: there is no manifest that this version writes.
  """
  folder = epath.Path(folder)
  manifest = manifest_lib.load(folder)
  rows = [_ROW.format(*_HEADER)]
  faults = []
  for shard in tqdm.tqdm(manifest.shards, "verify", unit="shard"):
    found = shards.file_faults(folder, shard)
    if not found:
      found = list(_record_faults(folder / shard.name, shard, manifest.layout))
    rows.append(_row(shard, found))
    faults += found
  faults += _other_faults(folder, manifest)
  faults += _reject_faults(folder, manifest)
  faults += _null_prompt_faults(folder, manifest)
  rows.append(
    f"{manifest.num_records} records in {len(manifest.shards)} shards"
  )
  if manifest.rejected:
    rows.append("rejected:\n" + rejects_lib.table(manifest.rejected, {}))
  return Report(table="\n".join(rows), faults=tuple(faults))


def _row(shard: manifest_lib.Shard, faults: list[str]) -> str:
  cut = shard.truncated_prompts + shard.truncated_captions
  size = f"{shard.bytes / 1e6:.1f}"
  state = f"{len(faults)} FAULTS" if faults else "ok"
  return _ROW.format(shard.name, shard.records, size, shard.skipped, cut, state)


def _record_faults(
  path: epath.Path, shard: manifest_lib.Shard, layout: manifest_lib.Layout
) -> Iterator[str]:
  with files.local(path) as name:
    try:
      reader = array_record_module.ArrayRecordReader(str(name))
      count = reader.num_records()
      if count != shard.records:
        yield f"{path.name}: got {count} records, expected {shard.records}"
      for start in range(0, count, _RECORDS_AT_ONCE):
        stop = min(start + _RECORDS_AT_ONCE, count)
        for number, data in enumerate(reader.read(start, stop), start):
          try:
            check_record(schema.deserialize(data), layout)
          except schema.RecordError as e:
            yield f"{path.name} record {number}: {e}"
      reader.close()
    except RuntimeError as e:  # what ArrayRecord raises for a damaged file
      yield f"{path.name}: got a file that does not read ({e})"


def check_record(record: schema.Record, layout: manifest_lib.Layout) -> None:
  """Refuses a record that does not belong in the set.

  Raises:
    RecordError: the first field that differs, or is not finite.
  """
  text_dim = layout.text_dim if layout.draws else None
  features = record.prompt_features
  for field, got, expected in (
    ("task", record.task, layout.task),
    ("latents_mean", record.latents_mean.shape, layout.latent_shape),
    ("cond_latents", len(record.cond_latents), layout.num_cond),
    ("prompt_ids", len(record.prompt_ids), layout.text_length),
    ("h_image", record.h_image.shape, layout.h_image_shape),
    ("masked_t", record.draws, layout.draws),
    (
      "prompt_features",
      None if features is None else features.shape[-1],
      text_dim,
    ),
    (
      "prompt_features",
      None if features is None else features.dtype.name,
      layout.feature_dtype if layout.draws else None,
    ),
  ):
    if got != expected:
      raise schema.RecordError(field, got, f"{expected}, by the manifest")
  for field in dataclasses.fields(record):
    value = getattr(record, field.name)
    if isinstance(value, np.ndarray) and not _is_finite(value):
      raise schema.RecordError(field.name, "a value that is not finite", "none")
  for field in ("prompt_ids", "caption_ids", "masked_ids"):
    ids = getattr(record, field)
    if ids is not None and (ids.min() < 0 or ids.max() >= layout.vocab_size):
      got = f"ids {ids.min()} to {ids.max()}"
      raise schema.RecordError(field, got, f"0 to {layout.vocab_size - 1}")


def _is_finite(value: np.ndarray) -> bool:
  if value.dtype.kind in "iu":
    return True
  return bool(np.isfinite(value.astype(np.float32)).all())


def _other_faults(
  folder: epath.Path, manifest: manifest_lib.Manifest
) -> Iterator[str]:
  known = {shard.name for shard in manifest.shards}
  for path in sorted(folder.glob("*.arrayrecord")):
    if path.name not in known:
      yield f"{path.name}: got a shard that is not in the manifest"


def _reject_faults(
  folder: epath.Path, manifest: manifest_lib.Manifest
) -> Iterator[str]:
  path = folder / rejects_lib.FILENAME
  if not path.exists():
    yield f"{path.name}: got no file, expected the list of rejected items"
    return
  counts = collections.Counter()
  try:
    with path.open("r") as f:
      counts.update(json.loads(line)["reason"] for line in f)
  except (ValueError, KeyError, TypeError) as e:
    yield f"{path.name}: got a line that is not a rejected item ({e!r})"
    return
  if counts != manifest.rejected:
    yield (
      f"{path.name}: got {dict(counts)}, expected {manifest.rejected}, by the"
      " manifest"
    )


def _null_prompt_faults(
  folder: epath.Path, manifest: manifest_lib.Manifest
) -> Iterator[str]:
  layout = manifest.layout
  path = folder / manifest_lib.NULL_PROMPT_FILENAME
  got = files.sha256(path) if path.exists() else "no file"
  if got != manifest.null_prompt_sha256:
    expected = manifest.null_prompt_sha256
    yield f"{path.name}: got sha256 {got}, expected {expected}"
    return
  try:
    tensors = safetensors.numpy.load(path.read_bytes())
  except safetensors.SafetensorError as e:
    yield f"{path.name}: got a damaged file ({e})"
    return
  for name, shape in (
    ("ids", (layout.text_length,)),
    ("features", (layout.text_length, layout.text_dim)),
  ):
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape or not _is_finite(tensor):
      found = "nothing" if tensor is None else f"shape {tensor.shape}"
      yield f"{path.name} {name}: got {found}, expected finite {shape}"
