"""Pictures and texts out of a tfds record, without TensorFlow.

A feature is named by its path: "image", or "captions/text" where captions are
a dictionary or a sequence of dictionaries.
"""

import hashlib
import io
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import rejection

_Feature = tfds.features.FeatureConnector
_CHANNELS = (1, 3, 4)
# What tfds writes for a null picture when it converts other data sets is one
# black pixel in a PNG file, some 70 bytes.
_PIXEL_BYTES = 200


class Stored(tfds.decode.SkipDecoding):
  """Pictures as they were stored, in sequences as well."""

  def decode_batch_example_np(self, batch: Any) -> Any:
    return batch


def decoders(feature: _Feature) -> Any:
  """Decoders that leave every picture encoded; None: the usual ones."""
  # Subclasses of both decode what is inside themselves.
  if type(feature) is tfds.features.Sequence:
    return decoders(feature.feature)
  if type(feature) is tfds.features.FeaturesDict:
    inner = {name: decoders(feature[name]) for name in feature}
    return {name: found for name, found in inner.items() if found} or None
  return Stored() if isinstance(feature, tfds.features.Image) else None


def find(features: _Feature, path: str) -> tuple[_Feature, bool]:
  """The feature at a path, and whether it is in a sequence.

  Raises:
    SourceError: there is none.
  """
  feature, repeated = features, False
  for name in (*path.split("/"), None):
    while type(feature) is tfds.features.Sequence:
      feature, repeated = feature.feature, True
    if name is None:
      break
    is_dict = type(feature) is tfds.features.FeaturesDict
    if not is_dict or name not in feature:
      raise base.SourceError(
        f"tfds: got feature {path!r}, expected one of"
        f" {sorted(_paths(features))}"
      )
    feature = feature[name]
  return feature, repeated


def check_picture(features: _Feature, path: str) -> bool:
  """Whether the pictures at a path are a sequence.

  Raises:
    SourceError: no such feature, or no pictures.
  """
  feature, repeated = find(features, path)
  is_pixels = (
    isinstance(feature, tfds.features.Tensor)
    and feature.np_dtype == np.uint8
    and len(feature.shape) == 3
    and feature.shape[2] in _CHANNELS
  )
  if not is_pixels and not isinstance(feature, tfds.features.Image):
    raise base.SourceError(
      f"tfds: got feature {path!r}, {feature}, expected an Image, or a Tensor"
      " of uint8 [height, width, channels]"
    )
  return repeated


def check_text(features: _Feature, path: str) -> None:
  """Checks that the feature at a path holds texts or names of classes.

  Raises:
    SourceError: no such feature, or another kind.
  """
  feature, _ = find(features, path)
  is_label = isinstance(feature, tfds.features.ClassLabel)
  if type(feature) is tfds.features.FeaturesDict or not (
    is_label or feature.np_dtype == np.object_
  ):
    raise base.SourceError(
      f"tfds: got feature {path!r}, {feature}, expected Text or ClassLabel"
    )


def pictures(record: Mapping[str, Any], path: str) -> list[base.Picture]:
  """The pictures at a path.

  Raises:
    Rejection: a null one.
  """
  return [_picture(value, path) for value in _values(record, path, 3)]


def text(
  record: Mapping[str, Any], path: str, features: _Feature, seed: str | None
) -> str:
  """The text at a path, "" where there is none.

  Args:
    record: As read.
    path: Of the feature.
    features: Of all records.
    seed: Chooses among the texts of a sequence; None: the first.

  Raises:
    Rejection: not UTF-8.
  """
  feature, _ = find(features, path)
  texts = []
  for value in _values(record, path, 0):
    if isinstance(feature, tfds.features.ClassLabel):
      # tfds stores -1 where a class is not known.
      value = feature.int2str(value) if value >= 0 else ""
    texts.append(_decoded(value, path))
  texts = [found for found in texts if found]
  if not texts:
    return ""
  return texts[0 if seed is None else _hash(seed) % len(texts)]


def _paths(feature: _Feature, above: str = "") -> Iterator[str]:
  while type(feature) is tfds.features.Sequence:
    feature = feature.feature
  if type(feature) is not tfds.features.FeaturesDict:
    yield above
    return
  for name in feature:
    yield from _paths(feature[name], f"{above}/{name}".strip("/"))


def _values(record: Any, path: str, ranks: int) -> Iterator[Any]:
  """What is at a path, sequences flattened down to arrays of `ranks` axes."""
  value = record
  for name in path.split("/"):
    value = value[name]  # a sequence of dictionaries is read as one of lists
  yield from _flat(value, ranks)


def _flat(value: Any, ranks: int) -> Iterator[Any]:
  is_array = isinstance(value, np.ndarray)
  pixels = is_array and value.dtype != np.object_ and value.ndim == ranks
  if isinstance(value, (list, tuple)) or (is_array and not pixels):
    for part in value:
      yield from _flat(part, ranks)
  else:
    yield value


def _picture(value: bytes | np.ndarray, path: str) -> base.Picture:
  if isinstance(value, np.ndarray):
    file = io.BytesIO()
    image = Image.fromarray(value[..., 0] if value.shape[2] == 1 else value)
    image.save(file, "PNG", compress_level=1)
    return base.Picture(file.getvalue())
  picture = base.Picture(value)
  is_tiny = len(value) < _PIXEL_BYTES
  if not value or (is_tiny and picture_size.read(picture) == (1, 1)):
    raise rejection.Rejection("null image", path)
  return picture


def _decoded(value: bytes | str, path: str) -> str:
  if isinstance(value, str):
    return value.strip()
  try:
    return value.decode("utf-8-sig").strip()
  except UnicodeDecodeError as e:
    raise rejection.Rejection("not UTF-8", f"{path}: {e}") from e


def _hash(seed: str) -> int:
  digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "big")
