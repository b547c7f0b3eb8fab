"""Text features in fewer bytes: a cast, or int8 with one scale a token."""

import ml_dtypes
import numpy as np

from unialign_jax.features import schema


def check_dtype(dtype: str) -> None:
  """Refuses a dtype that features are not stored in."""
  if dtype not in schema.FEATURE_DTYPES:
    raise ValueError(
      f"text feature dtype: got {dtype!r}, expected one of"
      f" {schema.FEATURE_DTYPES}"
    )


def quantise(
  features: np.ndarray, dtype: str
) -> tuple[np.ndarray, np.ndarray | None]:
  """Text features as they are stored.

  Args:
    features: `[..., E]` float32.
    dtype: One of `schema.FEATURE_DTYPES`.

  Returns:
    `[..., E]` of `dtype`, and for int8 the scales `[...]` float32, else None.
    An int8 value differs from the feature by at most half a scale, that is
    1/254 of the token's largest feature.

  Raises:
    ValueError: an unknown dtype, or a feature that is not finite in it.
  """
  check_dtype(dtype)
  if dtype != "int8":
    # An overflow is reported below with the dtype's name, not as a warning.
    with np.errstate(over="ignore"):
      stored = features.astype(np.dtype(dtype))
    _check_finite(stored, dtype)
    return stored, None
  _check_finite(features, dtype)
  largest = np.abs(features).max(axis=-1)
  scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
  return np.rint(features / scale[..., None]).astype(np.int8), scale


def dequantise(stored: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
  """Features ready for a batch: int8 becomes bfloat16, others stay as stored.

  Args:
    stored: `[..., E]` as `quantise` gave them.
    scale: `[...]` float32 with int8, else None.
  """
  if scale is None:
    return stored
  features = stored.astype(np.float32) * scale[..., None]
  return features.astype(ml_dtypes.bfloat16)


def _check_finite(features: np.ndarray, dtype: str) -> None:
  if not np.isfinite(features.astype(np.float32)).all():
    raise ValueError(
      f"text features: got a value that is not finite as {dtype}, expected"
      " finite features; check the text encoder's weights or store them as"
      " bfloat16"
    )
