"""Captions out of text files, JSON objects and rows of tables."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax import strict_json
from unialign_jax.data.sources import rejection

# Where a caption is looked for, in this order.
KEYS = ("prompt", "caption", "text")


def from_text(data: bytes) -> str:
  """The caption that is all of a text file.

  Raises:
    Rejection: not UTF-8, or blank.
  """
  return _clean(_decoded(data))


def from_json(data: bytes, keys: Sequence[str] = KEYS) -> str:
  """The caption in a file of one JSON object.

  Raises:
    Rejection: not UTF-8, not a JSON object, or as `from_fields`.
  """
  text = _decoded(data)
  try:
    fields = strict_json.row(text)
  except ValueError as e:
    raise rejection.Rejection("damaged json", str(e)) from e
  if not isinstance(fields, dict):
    raise rejection.Rejection(
      "damaged json", f"got {type(fields).__name__}, expected an object"
    )
  return from_fields(fields, keys)


def from_fields(fields: Mapping[str, Any], keys: Sequence[str] = KEYS) -> str:
  """The caption under the first of the keys that there is.

  Raises:
    Rejection: none of the keys; null, blank or no text; not UTF-8.
  """
  present = [key for key in keys if key in fields]
  if not present:
    raise rejection.Rejection(
      "missing key",
      f"got {list(fields)}, expected {' or '.join(keys)}; set text_key",
    )
  caption = fields[present[0]]
  if not isinstance(caption, str):
    raise rejection.Rejection("empty caption", f"{present[0]}: {caption!r}")
  return _clean(caption)


def _decoded(data: bytes) -> str:
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as e:
    raise rejection.Rejection("not UTF-8", str(e)) from e


def _clean(caption: str) -> str:
  try:
    caption.encode()
  except UnicodeEncodeError as e:  # half a character, or a byte passed through
    raise rejection.Rejection("not UTF-8", str(e)) from e
  caption = caption.replace("\r\n", "\n").strip()
  if not caption:
    raise rejection.Rejection("empty caption")
  return caption
