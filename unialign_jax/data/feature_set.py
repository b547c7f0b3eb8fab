"""A feature set opened for training: checked once, then read record by record.

Element fields (dims as in `features/schema.py`, numpy):

  latents_mean, latents_std  [H, W, C] f16
  cond_latents               [N, H, W, C] f16, only where N > 0
  prompt_ids, caption_ids    [L] i32
  label_mask                 [L] bool
  h_image, h_text            [S] f16; h_image [T, S] by patch
  record_id                  [] i64, index in the feature set
  stored mode only:
  prompt_features            [L, E] as stored; int8 is read as bfloat16
  masked_ids, is_masked      [L] i32, bool: one of the M draws
  masked_t                   [] f32
  masked_features            [L, E] as prompt_features
"""

import os

import numpy as np
from etils import epath

from unialign_jax.data import damage
from unialign_jax.data import shard_reader
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import quantise
from unialign_jax.features import schema
from unialign_jax.features import shards


class FeatureSet:
  """Random access to the elements of one feature set.

  Args:
    folder: Of the feature set.
    expectations: What the config needs.
    counter: Told of every damaged record.

  Raises:
    ManifestError: the set is unfinished, does not fit the config, or has a
      shard that is missing, truncated or empty.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    expectations: manifest_lib.Expectations,
    counter: damage.DamageCounter,
  ):
    self.folder = os.fspath(folder)
    self.manifest = manifest_lib.load(folder)
    manifest_lib.check(self.manifest, expectations, folder)
    self._stored = expectations.text_features == "stored"
    self._counter = counter
    shards.checked_paths(folder, self.manifest)
    self._shards = [
      shard_reader.ShardReader(epath.Path(folder) / shard.name, shard)
      for shard in self.manifest.shards
    ]
    counts = [shard.records for shard in self.manifest.shards]
    self._starts = np.cumsum([0, *counts])

  def __len__(self) -> int:
    return self.manifest.num_records

  def element(self, index: int, visit: int) -> dict[str, np.ndarray]:
    """The element of record `index`, or of the next good one.

    Args:
      index: Of the record, in [0, len).
      visit: How often the record was visited before; picks the masked draw.

    Raises:
      DamagedRecordsError: too many records are damaged.
      ShardError: a shard can no longer be read.
    """
    for offset in range(len(self)):
      actual = (index + offset) % len(self)
      number = int(np.searchsorted(self._starts, actual, side="right")) - 1
      shard = self._shards[number]
      try:
        record = self._read(shard, actual - int(self._starts[number]))
      except schema.RecordError as e:
        shard.check()  # of a file cut short all records would look damaged
        self._counter.add(self.folder, actual, e)
        continue
      fields = self._fields(record, actual)
      if self._stored:
        fields |= _stored_fields(record, visit % record.draws)
      return fields
    raise damage.DamagedRecordsError(
      f"feature set {self.folder}: got {len(self)} damaged records, expected a"
      " good one; write the set again with `python -m unialign_jax.precompute`"
    )

  def _read(
    self, shard: shard_reader.ShardReader, position: int
  ) -> schema.Record:
    record = schema.deserialize(shard.read(position))
    layout = self.manifest.layout
    for field, got, expected in (
      ("latents_mean", record.latents_mean.shape, layout.latent_shape),
      ("cond_latents", len(record.cond_latents), layout.num_cond),
      ("prompt_ids", len(record.prompt_ids), layout.text_length),
      ("h_image", record.h_image.shape, layout.h_image_shape),
      ("masked_t", record.draws, layout.draws),
    ):
      if got != expected:
        raise schema.RecordError(field, got, f"{expected}, by the manifest")
    return record

  def _fields(self, record: schema.Record, index: int) -> dict[str, np.ndarray]:
    fields = {
      "latents_mean": record.latents_mean,
      "latents_std": record.latents_std,
      "prompt_ids": record.prompt_ids,
      "caption_ids": record.caption_ids,
      "label_mask": record.label_mask.astype(bool),
      "h_image": record.h_image,
      "h_text": record.h_text,
      "record_id": np.int64(index),
    }
    if len(record.cond_latents):
      fields["cond_latents"] = record.cond_latents
    return fields


def _stored_fields(record: schema.Record, draw: int) -> dict[str, np.ndarray]:
  """The stored text fields of one draw."""
  masked_scale = record.masked_scale
  return {
    "prompt_features": quantise.dequantise(
      record.prompt_features, record.prompt_scale
    ),
    "masked_ids": record.masked_ids[draw],
    "is_masked": record.is_masked[draw].astype(bool),
    "masked_t": record.masked_t[draw],
    "masked_features": quantise.dequantise(
      record.masked_features[draw],
      None if masked_scale is None else masked_scale[draw],
    ),
  }
