"""Files that readers see whole or not at all, on disks and in buckets.

On a disk a file is written beside its place and moved there in one step. A
bucket (gs://, s3://) cannot move: a rename is a copy and a deletion. But an
object appears there once its upload is complete, so there the file is written
on the local disk and uploaded to its place.
"""

import contextlib
import hashlib
import os
import pathlib
import socket
import tempfile
from collections.abc import Iterator

from etils import epath

TEMPORARY = ".tmp-"


def temporary(path: epath.Path) -> epath.Path:
  """A name beside `path` for writing it; workers on other hosts get others."""
  owner = f"{socket.gethostname()}-{os.getpid()}"
  return path.with_name(f"{path.name}{TEMPORARY}{owner}")


@contextlib.contextmanager
def written(path: epath.Path) -> Iterator[pathlib.Path]:
  """Gives a local name to write; what is there at the end becomes `path`.

  After an error `path` is what it was, and on a disk the part that was
  written stays, as after a kill.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  if not _is_remote(path):
    partial = temporary(path)
    yield pathlib.Path(partial)
    partial.replace(path)
    return
  with tempfile.TemporaryDirectory() as folder:
    local = pathlib.Path(folder) / path.name
    yield local
    epath.Path(local).copy(path, overwrite=True)


@contextlib.contextmanager
def local(path: epath.Path) -> Iterator[pathlib.Path]:
  """Gives a local name of the contents of `path`, which must be there."""
  if not _is_remote(path):
    yield pathlib.Path(path)
    return
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / path.name
    path.copy(copy)
    yield copy


def write(path: epath.Path, data: bytes) -> None:
  """Writes a small file in one move."""
  with written(path) as name:
    name.write_bytes(data)


def size(path: epath.Path) -> int | None:
  """Bytes of a file, None where there is none."""
  return path.stat().length if path.exists() else None


def sha256(path: os.PathLike) -> str:
  """The checksum of a file, in hexadecimal."""
  with epath.Path(path).open("rb") as f:
    digest = hashlib.sha256()
    while block := f.read(1 << 20):
      digest.update(block)
  return digest.hexdigest()


def _is_remote(path: epath.Path) -> bool:
  return "://" in os.fspath(path)
