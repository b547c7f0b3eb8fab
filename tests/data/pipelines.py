"""Small feature sets for tests of the pipeline, and what is done with them."""

import grain
import numpy as np

from tests.features import fakes
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import shards
from unialign_jax.features import writer

NUM_T2I, NUM_EDIT, DRAWS, LENGTH = 21, 10, 2, 8
EXPECTATIONS = manifest_lib.Expectations(
  latent_shape=fakes.LATENT_SHAPE,
  text_length=LENGTH,
  vocab_size=fakes.VOCAB_SIZE,
  mask_id=fakes.MASK_ID,
  text_dim=fakes.TEXT_DIM,
  semantic_dim=fakes.SEMANTIC_DIM,
  semantic_tokens=0,
  max_cond=1,
  text_features="stored",
  text_encoder="fake text",
)


def write(folder, samples, dtype="bfloat16", draws=DRAWS):
  config = writer.WriterConfig(
    text_length=LENGTH,
    draws=draws,
    shard_size=4,
    batch_size=4,
    feature_dtype=dtype,
  )
  return writer.write_features(samples, folder, fakes.nets(), config)


def take(batches, count):
  return [next(batches) for _ in range(count)]


def joined(parts):
  """The hosts' parts of one batch laid end to end."""
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def assert_same_batch(got, expected):
  assert got.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


def damage_records(folder, indices):
  """Overwrites a byte of the payload of some records."""
  source = grain.sources.ArrayRecordDataSource(
    shards.checked_paths(folder, manifest_lib.load(folder))
  )
  wanted = {source[i] for i in indices}
  for path in folder.glob("*.arrayrecord"):
    data = bytearray(path.read_bytes())
    for record in wanted:
      if (at := data.find(record)) >= 0:
        data[at + len(record) // 2] ^= 0xFF
    path.write_bytes(data)
