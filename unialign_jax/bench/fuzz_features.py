"""Small whole parts of feature sets, to be damaged."""

import pathlib
from typing import Any

import numpy as np
from array_record.python import array_record_module

from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema


def records() -> list[bytes]:
  """Feature records of every form."""
  forms = (
    _fields(),
    _fields(num_cond=2),
    _fields() | _stored(np.float16),
    _fields(patches=3) | _stored(np.int8),
  )
  return [schema.serialize(schema.Record(**fields)) for fields in forms]


def _fields(*, num_cond: int = 0, patches: int = 0) -> dict[str, Any]:
  """Of a record for online text features."""
  latent, semantic = (2, 2, 3), (5,)
  texts = ("task", "source", "key", "license", "caption_source")
  return {
    "latents_mean": np.ones(latent, np.float16),
    "latents_std": np.ones(latent, np.float16),
    "cond_latents": np.ones((num_cond, *latent), np.float16),
    "prompt_ids": np.arange(4, dtype=np.int32),
    "caption_ids": np.arange(4, dtype=np.int32),
    "label_mask": np.ones(4, np.uint8),
    "h_image": np.ones((patches, 5) if patches else semantic, np.float16),
    "h_text": np.ones(semantic, np.float16),
  } | {name: f"some {name}" for name in texts}


def _stored(dtype: type) -> dict[str, Any]:
  """What stored text features add: two draws of four tokens of width six."""
  fields = {
    "prompt_features": np.ones((4, 6), dtype),
    "masked_ids": np.ones((2, 4), np.int32),
    "is_masked": np.ones((2, 4), np.uint8),
    "masked_t": np.ones(2, np.float32),
    "masked_features": np.ones((2, 4, 6), dtype),
  }
  if dtype is np.int8:
    fields["prompt_scale"] = np.ones(4, np.float32)
    fields["masked_scale"] = np.ones((2, 4), np.float32)
  return fields


def shard(folder: pathlib.Path) -> bytes:
  """A shard of the `records`, by way of a file in `folder`."""
  path = folder / "whole"
  writer = array_record_module.ArrayRecordWriter(
    str(path), "group_size:1,uncompressed"
  )
  for data in records():
    writer.write(data)
  writer.close()
  return path.read_bytes()


def entry(size: int, records: int) -> manifest_lib.Shard:
  """What a manifest says of a shard."""
  return manifest_lib.Shard(
    name="shard-00000.arrayrecord",
    records=records,
    bytes=size,
    sha256="",
    skipped=0,
    truncated_prompts=0,
    truncated_captions=0,
  )


def manifest() -> bytes:
  """Of a set of one shard."""
  layout = manifest_lib.Layout(
    source="",
    framing="",
    captions="",
    items=4,
    task="text_to_image",
    num_cond=0,
    latent_shape=(2, 2, 3),
    latent_scaling=(0.0, 1.5),
    text_length=4,
    vocab_size=99,
    mask_id=98,
    text_dim=6,
    semantic_dim=5,
    semantic_tokens=0,
    draws=0,
    feature_dtype="bfloat16",
    text_encoder="t",
    image_encoder="i",
    semantic_encoder="s",
    shard_size=4,
    seed=0,
  )
  whole = manifest_lib.Manifest(
    schema_version=schema.SCHEMA_VERSION,
    layout=layout,
    null_prompt_sha256="",
    shards=(entry(10, 4),),
    rejected={"null image": 1},
  )
  return manifest_lib.dumps(whole)
