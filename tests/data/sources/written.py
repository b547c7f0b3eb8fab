"""Writes small files in public layouts: pictures, tars, JSON."""

import io
import json
import pathlib
import tarfile
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from PIL import Image


def picture(shade: int, form: str = "JPEG", size=(8, 6)) -> bytes:
  """A grey picture; another shade gives other bytes."""
  stream = io.BytesIO()
  Image.new("RGB", size, (shade, shade, shade)).save(stream, form)
  return stream.getvalue()


def file(path: pathlib.Path, data: bytes | str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data.encode() if isinstance(data, str) else data)


def tar(
  path: pathlib.Path,
  members: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
) -> None:
  """An uncompressed tar; pairs may name a member twice."""
  path.parent.mkdir(parents=True, exist_ok=True)
  pairs = members.items() if isinstance(members, Mapping) else members
  with tarfile.open(path, "w") as archive:
    for name, data in pairs:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


def cut(path: pathlib.Path, size: int) -> None:
  """Leaves the first `size` bytes."""
  path.write_bytes(path.read_bytes()[:size])


def json_list(path: pathlib.Path, rows: list[Any]) -> None:
  file(path, json.dumps(rows, indent=1, ensure_ascii=False))


def json_lines(path: pathlib.Path, rows: list[Any]) -> None:
  file(path, "".join(json.dumps(row) + "\n" for row in rows))
