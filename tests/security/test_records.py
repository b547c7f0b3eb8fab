"""Feature records as hypothesis makes them: any record, and any bytes."""

import dataclasses
import json
import struct
import tracemalloc
import zlib
from typing import Any

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from tests.features import test_schema
from tests.security import limited
from unialign_jax.features import schema

_SIZES = st.integers(1, 3)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_EXAMPLES = hypothesis.settings(
  max_examples=80,
  deadline=None,
  derandomize=True,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def _arrays(dtype: Any, *shape: int) -> st.SearchStrategy[np.ndarray]:
  """Any bits, NaNs and infinities included."""
  dtype = np.dtype(dtype)
  size = int(np.prod(shape)) * dtype.itemsize
  return st.binary(min_size=size, max_size=size).map(
    lambda data: np.frombuffer(data, dtype).reshape(shape)
  )


@st.composite
def _records(draw: st.DrawFn) -> schema.Record:
  H, W, C, L, S, E, M = (draw(_SIZES) for _ in range(7))
  N, T = draw(st.integers(0, 2)), draw(st.integers(0, 2))
  shapes = {
    "latents_mean": (np.float16, H, W, C),
    "latents_std": (np.float16, H, W, C),
    "cond_latents": (np.float16, N, H, W, C),
    "prompt_ids": (np.int32, L),
    "caption_ids": (np.int32, L),
    "label_mask": (np.uint8, L),
    "h_image": (np.float16, *([T] if T else []), S),
    "h_text": (np.float16, S),
  }
  if draw(st.booleans()):
    dtypes = [np.float16, np.float32, np.int8, ml_dtypes.bfloat16]
    for name, shape in (("prompt", (L,)), ("masked", (M, L))):
      dtype = draw(st.sampled_from(dtypes))
      shapes[f"{name}_features"] = (dtype, *shape, E)
      if dtype is np.int8:
        shapes[f"{name}_scale"] = (np.float32, *shape)
    shapes["masked_ids"] = (np.int32, M, L)
    shapes["is_masked"] = (np.uint8, M, L)
    shapes["masked_t"] = (np.float32, M)
  texts = ("task", "source", "key", "license", "caption_source")
  return schema.Record(
    **{name: draw(_arrays(*shape)) for name, shape in shapes.items()},
    **{name: draw(_TEXT) for name in texts},
  )


@_EXAMPLES
@hypothesis.given(_records())
def test_any_record_comes_back_bit_by_bit(record):
  data = schema.serialize(record)
  got = schema.deserialize(data)
  for field in dataclasses.fields(schema.Record):
    a, b = getattr(got, field.name), getattr(record, field.name)
    if isinstance(b, np.ndarray):
      assert (a.dtype, a.shape) == (b.dtype, b.shape), field.name
      assert a.tobytes() == b.tobytes(), field.name
    else:
      assert a == b, field.name
  assert schema.serialize(got) == data


def refused(data: bytes) -> schema.RecordError | None:
  """The error of what is no record; any other exception is a failure."""
  try:
    record = schema.deserialize(data)
  except schema.RecordError as e:
    assert str(e) and e.field
    return e
  assert schema.deserialize(schema.serialize(record)).key == record.key
  return None


@_EXAMPLES
@hypothesis.given(st.binary(max_size=300))
@hypothesis.example(b"")
@hypothesis.example(b"UAfr")
def test_any_bytes_are_refused(data):
  assert refused(data) is not None


def framed(payload: bytes) -> bytes:
  """With our own header and a right checksum: the payload is what is read."""
  return struct.pack("<4sII", b"UAfr", 1, zlib.crc32(payload)) + payload


@_EXAMPLES
@hypothesis.given(st.binary(max_size=300))
def test_any_payload_is_refused(payload):
  assert refused(framed(payload)) is not None


_DTYPES = st.sampled_from(
  [
    "BF16",
    "F16",
    "F32",
    "I32",
    "I8",
    "U8",
    "F64",
    "I64",
    "BOOL",
    "F8_E4M3",
    "X",
  ]
)
_DIMENSIONS = st.lists(
  st.sampled_from([0, 1, 2, 3, 5, 2**31, 2**32, 2**62, 2**63]), max_size=5
)


@st.composite
def _headers(draw: st.DrawFn) -> bytes:
  """A safetensors header of our own fields that need not be true."""
  names = [field.name for field in dataclasses.fields(schema.Record)]
  tensors, end = {}, 0
  for name in draw(st.lists(st.sampled_from([*names, "more"]), unique=True)):
    size = draw(st.integers(0, 24))
    tensors[name] = {
      "dtype": draw(_DTYPES),
      "shape": draw(_DIMENSIONS),
      "data_offsets": [end, end + size],
    }
    end += size
  text = json.dumps(tensors).encode()
  return struct.pack("<Q", len(text)) + text + bytes(end)


@_EXAMPLES
@hypothesis.given(_headers())
def test_any_header_is_refused(payload):
  assert refused(framed(payload)) is not None


@_EXAMPLES
@hypothesis.given(
  field=st.sampled_from([f.name for f in dataclasses.fields(schema.Record)]),
  value=stn.arrays(
    st.sampled_from(
      [np.dtype(n) for n in ("f2", "f4", "i4", "u1", "i1", "f8")]
    ),
    stn.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3),
    elements=st.just(0),
  ),
)
def test_any_tensor_in_place_of_another(field, value):
  """A record, or the error: a tensor may fit by chance."""
  refused(test_schema.rewritten(**{field: value}))


_MANY = b"{%s}" % b",".join(
  b'"t%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n
  for n in range(30_000)
)
LIES = {
  "no tensors in 2 GB": struct.pack("<Q", 2**31) + b"{}",
  "header of all memory": struct.pack("<Q", 2**64 - 1) + b"{}",
  "tensor of all memory": b'{"h_text":{"dtype":"F16","shape":'
  b'[4611686018427387904],"data_offsets":[0,9223372036854775808]}}',
  "empty and huge": b'{"h_text":{"dtype":"F16","shape":[4611686018427387904,0,'
  b'4611686018427387904],"data_offsets":[0,0]}}',
  "many axes": b'{"h_text":{"dtype":"F16","shape":[%s1],"data_offsets":[0,2]}}'
  % (b"1," * 999),
  "many tensors": struct.pack("<Q", len(_MANY)) + _MANY,
  "deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
  "long": b'{"__metadata__":{"a":"%s"}}' % (b"x" * schema.MAX_HEADER_BYTES),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_costs_no_memory(lie):
  payload = LIES[lie]
  if payload.startswith(b"{"):
    payload = struct.pack("<Q", len(payload)) + payload + bytes(2)
  tracemalloc.start()
  try:
    assert refused(framed(payload)) is not None
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 2**20 + 2 * len(payload)  # copies of what was given


_SCRIPT = """
import struct
from tests.security import test_records
test_records.refused(test_records.framed(b""))
# limited
for payload in test_records.LIES.values():
  if payload.startswith(b"{"):
    payload = struct.pack("<Q", len(payload)) + payload + bytes(2)
  assert test_records.refused(test_records.framed(payload))
"""


def test_lying_headers_within_a_limit_of_the_system():
  """Also what native code asks for: that is not Python's memory."""
  limited.run(_SCRIPT, extra_bytes=64 * 2**20)


def test_a_text_that_utf8_cannot_hold_is_no_record():
  record = test_schema.make_record()
  with pytest.raises(schema.RecordError, match="UTF-8") as caught:
    dataclasses.replace(record, key="a\udcff")
  assert caught.value.field == "key"


@pytest.mark.parametrize("field", ["prompt_ids", "h_image", "latents_mean"])
def test_an_array_without_elements_is_no_record(field):
  record = test_schema.make_record(draws=0)
  empty = {
    "prompt_ids": {
      name: np.zeros(0, value.dtype)
      for name in ("prompt_ids", "caption_ids", "label_mask")
      if (value := getattr(record, name)) is not None
    },
    "h_image": {"h_image": np.zeros((0, 5), np.float16)},
    "latents_mean": {"latents_mean": np.zeros((0, 3, 4), np.float16)},
  }[field]
  with pytest.raises(schema.RecordError, match="at least 1 of") as caught:
    dataclasses.replace(record, **empty)
  assert caught.value.field == field
