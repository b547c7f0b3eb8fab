"""Records survive the way through bytes; damaged bytes never do."""

import dataclasses
import struct
import zlib

import hypothesis
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from unialign_jax.features import quantise
from unialign_jax.features import schema


def make_record(
  *, n=1, length=4, draws=2, dtype="bfloat16", seed=0, text="a key"
):
  rng = np.random.default_rng(seed)

  def half(*shape):
    return rng.standard_normal(shape).astype(np.float16)

  fields = {
    "latents_mean": half(2, 3, 4),
    "latents_std": half(2, 3, 4),
    "cond_latents": half(n, 2, 3, 4),
    "prompt_ids": rng.integers(0, 99, length, np.int32),
    "caption_ids": rng.integers(0, 99, length, np.int32),
    "label_mask": rng.integers(0, 2, length, np.uint8),
    "h_image": half(5),
    "h_text": half(5),
  }
  if draws:
    for name, shape in (
      ("prompt", (length, 6)),
      ("masked", (draws, length, 6)),
    ):
      features, scale = quantise.quantise(
        rng.standard_normal(shape).astype(np.float32), dtype
      )
      fields[f"{name}_features"] = features
      fields[f"{name}_scale"] = scale
    fields["masked_ids"] = rng.integers(0, 99, (draws, length), np.int32)
    fields["is_masked"] = rng.integers(0, 2, (draws, length), np.uint8)
    fields["masked_t"] = rng.random(draws, np.float32)
  return schema.Record(
    **fields,
    task="edit",
    source="fakes",
    key=text,
    license="CC0-1.0",
    caption_source="",
  )


def assert_same(got: schema.Record, expected: schema.Record) -> None:
  for field in dataclasses.fields(schema.Record):
    a, b = getattr(got, field.name), getattr(expected, field.name)
    if isinstance(b, np.ndarray):
      assert a.dtype == b.dtype, field.name
      np.testing.assert_array_equal(a, b, err_msg=field.name)
    else:
      assert a == b, field.name


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  n=st.integers(0, 4),
  length=st.integers(1, 5),
  draws=st.integers(0, 3),
  dtype=st.sampled_from(schema.FEATURE_DTYPES),
  seed=st.integers(0, 9),
  text=st.text(st.characters(codec="utf-8"), max_size=9),
)
def test_round_trip(**arguments):
  record = make_record(**arguments)
  assert_same(schema.deserialize(schema.serialize(record)), record)


def test_every_flipped_byte_is_seen():
  data = schema.serialize(make_record(length=2, draws=1))
  for place in range(len(data)):
    damaged = bytearray(data)
    damaged[place] ^= 0x10
    with pytest.raises(schema.RecordError):
      schema.deserialize(bytes(damaged))


def test_every_truncation_is_seen():
  data = schema.serialize(make_record(length=2, draws=0))
  for stop in range(len(data)):
    with pytest.raises(schema.RecordError):
      schema.deserialize(data[:stop])


def test_another_version_is_named():
  data = bytearray(schema.serialize(make_record()))
  struct.pack_into("<I", data, 4, 7)
  with pytest.raises(schema.RecordError, match=r"schema_version.*got 7") as e:
    schema.deserialize(bytes(data))
  assert e.value.field == "schema_version"


def rewritten(**changes: np.ndarray | None) -> bytes:
  """Bytes with a right checksum but other tensors; None leaves one out."""
  record = make_record(draws=0)
  tensors = {
    field.name: np.frombuffer(value.encode(), np.uint8)
    if isinstance(value, str)
    else value
    for field in dataclasses.fields(record)
    if (value := getattr(record, field.name)) is not None
  }
  tensors |= changes
  payload = safetensors.numpy.save(
    {name: value for name, value in tensors.items() if value is not None}
  )
  header = struct.pack("<4sII", b"UAfr", 1, zlib.crc32(payload))
  return header + payload


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("latents_std", None),
    ("key", None),
    ("key", np.array([0xFF], np.uint8)),
    ("key", np.zeros(2, np.float32)),
    ("latents_mean", np.zeros((2, 3, 4), np.float64)),
    ("latents_mean", np.zeros((2, 3, 4), np.float32)),
    ("latents_std", np.zeros((2, 3, 5), np.float16)),
    ("latents_std", np.zeros((2, 3), np.float16)),
    ("caption_ids", np.zeros(5, np.int32)),
    ("masked_t", np.zeros(2, np.float32)),
    ("surprise", np.zeros(2, np.float32)),
  ],
)
def test_wrong_fields_are_refused(field, value):
  schema.deserialize(rewritten())
  with pytest.raises(schema.RecordError):
    schema.deserialize(rewritten(**{field: value}))


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("latents_std", np.zeros((2, 3, 5), np.float16)),
    ("label_mask", np.zeros(4, bool)),
    ("masked_t", np.zeros(3, np.float32)),
    ("masked_ids", None),
    ("prompt_scale", np.ones(4, np.float32)),
    ("task", b"edit"),
  ],
)
def test_a_record_cannot_break_the_schema(field, value):
  with pytest.raises(schema.RecordError) as e:
    dataclasses.replace(make_record(), **{field: value})
  assert e.value.field == field


def test_int8_needs_its_scale():
  with pytest.raises(schema.RecordError, match="masked_scale"):
    dataclasses.replace(make_record(dtype="int8"), masked_scale=None)


def test_int8_is_within_half_a_scale():
  features = np.random.default_rng(0).normal(0, 3, (5, 64)).astype(np.float32)
  features[2] = 0
  stored, scale = quantise.quantise(features, "int8")
  error = np.abs(stored * scale[:, None] - features)
  assert (error <= 0.5001 * np.abs(features).max(-1, keepdims=True) / 127).all()
  restored = quantise.dequantise(stored, scale)
  assert restored.dtype == ml_dtypes.bfloat16
  np.testing.assert_allclose(
    restored.astype(np.float32), stored * scale[:, None], rtol=2**-8
  )


@pytest.mark.parametrize(
  ("dtype", "value"), [("float16", 1e5), ("int8", np.nan), ("bfloat16", np.inf)]
)
def test_features_that_are_not_finite_are_refused(dtype, value):
  features = np.full((1, 2), value, np.float32)
  with pytest.raises(ValueError, match=f"not finite as {dtype}"):
    quantise.quantise(features, dtype)
