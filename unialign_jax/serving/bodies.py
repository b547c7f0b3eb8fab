"""The bodies of requests: JSON objects, and forms with files."""

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from starlette import datastructures
from starlette import requests as http

from unialign_jax import strict_json
from unialign_jax.serving import errors
from unialign_jax.serving import images

_MAX_FIELDS = 40  # of a form
_FILES = ("image", "image[]")


async def document(request: http.Request) -> Mapping[str, Any]:
  """The object of a body in JSON, which is UTF-8.

  Raises:
    errors.ApiError: anything else.
  """
  _check_type(request, "application/json")
  # Not by `request.body()`, which keeps it as long as the request.
  data = b"".join([part async for part in request.stream()])
  try:
    text = data.decode("utf-8-sig")
    values = strict_json.document(text)
  except ValueError as error:
    raise errors.bad(f"body: got no JSON ({error}).") from None
  if not isinstance(values, dict):
    raise errors.bad(
      f"body: got {type(values).__name__}, expected a JSON object."
    )
  if "\\ud" in text or "\\uD" in text:  # nothing else makes half a pair
    _check_characters(values)
  return values


async def form(
  request: http.Request,
) -> tuple[Mapping[str, str], Sequence[bytes]]:
  """Fields, and the files of the pictures in their order.

  Raises:
    errors.ApiError: another type or charset, a field twice, a mask, a file
      elsewhere.
    starlette.exceptions.HTTPException: no form, or too many fields or files.
  """
  _check_type(request, "multipart/form-data")
  try:
    return await _fields(request)
  except UnicodeError as error:  # of the charset that a client may name
    raise errors.bad(f"body: got {error}, expected UTF-8.") from None


async def _fields(
  request: http.Request,
) -> tuple[dict[str, str], list[bytes]]:
  """See `form`."""
  values: dict[str, str] = {}
  files: list[bytes] = []
  most = images.MAX_CONDITIONS + 1  # one more is a mistake that is told
  async with request.form(max_files=most, max_fields=_MAX_FIELDS) as form:
    for name, value in form.multi_items():
      is_file = isinstance(value, datastructures.UploadFile)
      _check_characters({name: None if is_file else value})
      if is_file and name in _FILES:
        files.append(await value.read())
      elif name == "mask":
        raise errors.bad(
          "mask: got one, expected none; this model is told by words alone"
          " where to change a picture.",
          param="mask",
          code="unsupported_parameter",
        )
      elif is_file or name in _FILES or name in values:
        raise errors.bad(
          f"{name}: got {'a file' if is_file else 'a text'} or more than one,"
          " expected pictures as files of the field image, and each other"
          " field once, as a text.",
          param=name,
        )
      else:
        values[name] = value
  return values, files


def _check_characters(values: Mapping[str, Any]) -> None:
  """Refuses half a surrogate pair, which no tokenizer and no reply can hold."""
  for name, value in values.items():
    try:
      json.dumps({name: value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
      shown = name.encode(errors="backslashreplace").decode()
      raise errors.bad(
        f"{shown}: got half a surrogate pair (\\ud800 to \\udfff alone),"
        " expected whole characters.",
        param=shown,
      ) from None


def _check_type(request: http.Request, expected: str) -> None:
  kind = request.headers.get("content-type", "").partition(";")[0].strip()
  if kind.lower() != expected:
    raise errors.ApiError(
      415, f"content-type: got {kind[:60]!r}, expected {expected}."
    )
