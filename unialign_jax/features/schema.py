"""The feature record: the one place that knows its fields.

One record is one training sample and one ArrayRecord entry. Its bytes are a
12-byte header (magic, schema version, CRC-32 of the rest) followed by a
safetensors buffer, strings being UTF-8 in uint8 arrays: no pickle, and a
flipped byte anywhere is seen before a number is used.

Dims: H W latent grid, C latent channels, N condition images, L text tokens,
M masked draws, E width of the text features, S width of the semantic features,
T image tokens.
"""

import dataclasses
import struct
import zlib
from typing import NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

SCHEMA_VERSION = 1
# Of the safetensors header, its length and JSON text. Twenty fields need 2 KB;
# without a bound a text of one gigabyte would become many of objects.
MAX_HEADER_BYTES = 2**16

_HEADER = struct.Struct("<4sII")
_MAGIC = b"UAfr"

_F16 = ("float16",)
_F32 = ("float32",)
_I32 = ("int32",)
_U8 = ("uint8",)
FEATURE_DTYPES = ("bfloat16", "float16", "float32", "int8")


class _Spec(NamedTuple):
  dims: str
  dtypes: tuple[str, ...]
  optional: bool = False
  other_dims: str = ""  # of another rank, that the field may have instead


_ARRAYS = {
  "latents_mean": _Spec("HWC", _F16),
  "latents_std": _Spec("HWC", _F16),
  "cond_latents": _Spec("NHWC", _F16),
  "prompt_ids": _Spec("L", _I32),
  "caption_ids": _Spec("L", _I32),
  "label_mask": _Spec("L", _U8),
  "h_text": _Spec("S", _F16),
  "h_image": _Spec("S", _F16, other_dims="TS"),
  "prompt_features": _Spec("LE", FEATURE_DTYPES, optional=True),
  "prompt_scale": _Spec("L", _F32, optional=True),
  "masked_ids": _Spec("ML", _I32, optional=True),
  "is_masked": _Spec("ML", _U8, optional=True),
  "masked_t": _Spec("M", _F32, optional=True),
  "masked_features": _Spec("MLE", FEATURE_DTYPES, optional=True),
  "masked_scale": _Spec("ML", _F32, optional=True),
}
_STORED = (
  "prompt_features",
  "masked_ids",
  "is_masked",
  "masked_t",
  "masked_features",
)
_SCALES = {"prompt_features": "prompt_scale", "masked_features": "masked_scale"}
_STRINGS = ("task", "source", "key", "license", "caption_source")
_FIELDS = frozenset(_ARRAYS) | frozenset(_STRINGS)

_DTYPES = {
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F16": np.dtype(np.float16),
  "F32": np.dtype(np.float32),
  "I32": np.dtype(np.int32),
  "I8": np.dtype(np.int8),
  "U8": np.dtype(np.uint8),
}


class RecordError(ValueError):
  """A record that cannot be used; `field` names the part at fault."""

  def __init__(self, field: str, got: object, expected: object):
    super().__init__(f"record field {field!r}: got {got}, expected {expected}")
    self.field = field


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record:
  """One encoded training sample; any instance holds to the schema.

  Latents are scaled already. The five text fields after `h_text` are there in
  stored mode only, the two scales only when the features are int8.

  Raises:
    RecordError: a field has another dtype, rank or size than its neighbours.
  """

  latents_mean: np.ndarray  # [H, W, C] f16, VAE posterior
  latents_std: np.ndarray  # [H, W, C] f16
  cond_latents: np.ndarray  # [N, H, W, C] f16, posterior means
  prompt_ids: np.ndarray  # [L] i32
  caption_ids: np.ndarray  # [L] i32
  label_mask: np.ndarray  # [L] u8, 1 where the text loss counts
  h_image: np.ndarray  # [S] f16, or [T, S] where it is aligned by patch
  h_text: np.ndarray  # [S] f16
  prompt_features: np.ndarray | None = None  # [L, E] FEATURE_DTYPES
  prompt_scale: np.ndarray | None = None  # [L] f32
  masked_ids: np.ndarray | None = None  # [M, L] i32
  is_masked: np.ndarray | None = None  # [M, L] u8
  masked_t: np.ndarray | None = None  # [M] f32
  masked_features: np.ndarray | None = None  # [M, L, E] FEATURE_DTYPES
  masked_scale: np.ndarray | None = None  # [M, L] f32
  task: str
  source: str
  key: str
  license: str
  caption_source: str

  def __post_init__(self) -> None:
    sizes: dict[str, int] = {}
    for name, spec in _ARRAYS.items():
      _check_array(name, getattr(self, name), spec, sizes)
    for name in _STRINGS:
      _check_text(name, getattr(self, name))
    _check_stored(self)

  @property
  def draws(self) -> int:
    """The number of stored masked draws, 0 in a record for online mode."""
    return 0 if self.masked_t is None else len(self.masked_t)


def _check_array(
  name: str, value: object, spec: _Spec, sizes: dict[str, int]
) -> None:
  """Checks one array; `sizes` collects what each dim letter has stood for."""
  if value is None and spec.optional:
    return
  if not isinstance(value, np.ndarray):
    raise RecordError(name, type(value).__name__, "an array")
  if value.dtype.name not in spec.dtypes:
    raise RecordError(name, value.dtype.name, " or ".join(spec.dtypes))
  is_other = spec.other_dims and value.ndim == len(spec.other_dims)
  dims = spec.other_dims if is_other else spec.dims
  expected = tuple(
    sizes.get(d, n) for d, n in zip(dims, value.shape, strict=False)
  )
  if value.ndim != len(dims) or value.shape != expected:
    want = [f"{d}={sizes[d]}" if d in sizes else d for d in dims]
    raise RecordError(name, f"shape {value.shape}", f"[{', '.join(want)}]")
  if empty := [d for d, n in zip(dims, value.shape) if not n and d != "N"]:
    got = f"shape {value.shape}"
    raise RecordError(name, got, f"at least 1 of {', '.join(empty)}")
  sizes.update(zip(dims, value.shape, strict=True))


def _check_text(name: str, value: object) -> None:
  if not isinstance(value, str):
    raise RecordError(name, type(value).__name__, "str")
  try:
    value.encode("utf-8")
  except UnicodeEncodeError as e:  # a half of a character, or a raw byte
    raise RecordError(name, e, "text that UTF-8 can hold") from e


def _check_stored(record: Record) -> None:
  absent = [name for name in _STORED if getattr(record, name) is None]
  if absent and len(absent) < len(_STORED):
    raise RecordError(absent[0], "nothing", "all stored text fields or none")
  for name, scale_name in _SCALES.items():
    features, scale = getattr(record, name), getattr(record, scale_name)
    is_int8 = features is not None and features.dtype == np.int8
    if is_int8 != (scale is not None):
      got = "nothing" if scale is None else "a scale"
      raise RecordError(scale_name, got, "a scale exactly with int8 features")


def serialize(record: Record) -> bytes:
  """The bytes of a record, as `deserialize` reads them."""
  tensors = {
    name: np.frombuffer(getattr(record, name).encode("utf-8"), np.uint8)
    for name in _STRINGS
  }
  for name in _ARRAYS:
    if (value := getattr(record, name)) is not None:
      tensors[name] = np.ascontiguousarray(value)
  payload = safetensors.numpy.save(tensors)
  return _HEADER.pack(_MAGIC, SCHEMA_VERSION, zlib.crc32(payload)) + payload


def deserialize(data: bytes) -> Record:
  """The record in `data`.

  Raises:
    RecordError: whatever is wrong with the bytes, naming the field.
  """
  try:
    tensors = safetensors.deserialize(_payload(data))
  except safetensors.SafetensorError as e:
    raise RecordError("payload", e, "a safetensors buffer") from e
  values = {name: _array(name, tensor) for name, tensor in tensors}
  if unknown := values.keys() - _FIELDS:
    raise RecordError(min(unknown), "an unknown field", sorted(_FIELDS))
  optional = {name for name, spec in _ARRAYS.items() if spec.optional}
  if missing := _FIELDS - optional - values.keys():
    raise RecordError(min(missing), "nothing", "this field in every record")
  return Record(**values | {name: _text(name, values) for name in _STRINGS})


def _payload(data: bytes) -> bytes:
  if len(data) < _HEADER.size:
    raise RecordError("header", f"{len(data)} bytes", f">= {_HEADER.size}")
  magic, version, crc = _HEADER.unpack_from(data)
  if magic != _MAGIC:
    raise RecordError("magic", magic, _MAGIC)
  if version != SCHEMA_VERSION:
    raise RecordError("schema_version", version, SCHEMA_VERSION)
  payload = data[_HEADER.size :]
  if (got := zlib.crc32(payload)) != crc:
    raise RecordError("checksum", f"{got:#010x}", f"{crc:#010x}")
  length = int.from_bytes(payload[:8], "little")
  if length > MAX_HEADER_BYTES:
    got = f"a header of {length} bytes"
    raise RecordError("payload", got, f"at most {MAX_HEADER_BYTES}")
  return payload


def _array(name: str, tensor: dict) -> np.ndarray:
  dtype = _DTYPES.get(tensor["dtype"])
  if dtype is None:
    raise RecordError(name, tensor["dtype"], f"one of {sorted(_DTYPES)}")
  try:
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
  except ValueError as e:  # more axes or elements than numpy counts
    raise RecordError(name, e, "a shape of its size") from e


def _text(name: str, values: dict[str, np.ndarray]) -> str:
  if values[name].dtype != np.uint8:
    raise RecordError(name, values[name].dtype.name, "uint8, UTF-8 text")
  try:
    return values[name].tobytes().decode("utf-8")
  except UnicodeDecodeError as e:
    raise RecordError(name, e, "UTF-8 text") from e
