"""Files that readers see whole or not at all."""

import hashlib
import os
import pathlib
import socket

TEMPORARY = ".tmp-"


def temporary(path: pathlib.Path) -> pathlib.Path:
  """A name beside `path` for writing it; workers on other hosts get others."""
  owner = f"{socket.gethostname()}-{os.getpid()}"
  return path.with_name(f"{path.name}{TEMPORARY}{owner}")


def write(path: pathlib.Path, data: bytes) -> None:
  """Writes a small file in one move."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = temporary(path)
  partial.write_bytes(data)
  os.replace(partial, path)


def sha256(path: pathlib.Path) -> str:
  """The checksum of a file, in hexadecimal."""
  with path.open("rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()
