"""The files of a data set: found, named, and opened when they are first read.

Paths are etils.epath everywhere, so a root may be local or gs://.
"""

import itertools
import os
import posixpath
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
from typing import Any
from typing import BinaryIO

from etils import epath

from unialign_jax.data.sources import rejection

_OPEN_THREADS = 16
MAX_FILE_BYTES = 2**29  # of a picture or a caption


def walk(root: str | os.PathLike) -> Iterator[str]:
  """Paths of all files under `root`, relative to it; of a file, its name."""
  root = epath.Path(root)
  if root.exists() and not root.is_dir():
    yield root.name
    return
  top = _without_protocol(root)
  for folder, _, names in root.walk():
    # Relative by hand: on gs:// the folders come without their protocol.
    relative = posixpath.relpath(_without_protocol(folder), top)
    for name in names:
      yield posixpath.normpath(posixpath.join(relative, name))


def locate(root: str | os.PathLike, relative: str) -> epath.Path:
  """The path of a file that `walk` gave."""
  root = epath.Path(root)
  return root / relative if root.is_dir() else root


def find(root: str | os.PathLike, pattern: str) -> list[epath.Path]:
  """The files whose relative paths match, sorted. See `matches`."""
  return [
    locate(root, name) for name in sorted(walk(root)) if matches(pattern, name)
  ]


def matches(pattern: str, relative: str) -> bool:
  """Whether a relative path fits: `*` in a name, `**/` for any folders."""
  expression = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?")
  expression = expression.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
  return re.fullmatch(expression, relative, re.DOTALL) is not None


def stems(paths: Sequence[epath.Path]) -> list[str]:
  """A name for each file: its stem, with folders where stems repeat."""
  names = [path.stem for path in paths]
  if len(set(names)) == len(names):
    return names
  folders = [path.parts[:-1] for path in paths]
  shared = itertools.takewhile(
    lambda parts: len(set(parts)) == 1, zip(*folders)
  )
  common = len(list(shared))
  return [
    "/".join((*folder[common:], name)) for folder, name in zip(folders, names)
  ]


def read_file(path: epath.Path) -> bytes:
  """The contents of a picture or of a caption.

  Raises:
    FileNotFoundError: there is no plain file; a pipe would never end.
    Rejection: more than `MAX_FILE_BYTES`.
  """
  # epath takes a pipe for a file.
  if _is_local(path) and not os.path.isfile(path):
    raise FileNotFoundError(path)
  with path.open("rb") as file:
    data = file.read(MAX_FILE_BYTES + 1)
  if len(data) > MAX_FILE_BYTES:
    raise rejection.Rejection(
      "too large", f"{path}, expected at most {MAX_FILE_BYTES} bytes"
    )
  return data


class LazyFile:
  """A file that opens at the first read and pickles as its path.

  Args:
    path: Of a file.
  """

  def __init__(self, path: epath.Path):
    self.path = path
    self._file: BinaryIO | None = None
    self._process = 0

  def open(self) -> BinaryIO:
    """The open file, anew in a forked process.

    Parent and child would otherwise move one another's position.
    """
    if self._file is None or self._process != os.getpid():
      self._file = self.path.open("rb")
      self._process = os.getpid()
    return self._file

  def read(self, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`."""
    file = self.open()
    file.seek(offset)
    return file.read(size)

  def close(self) -> None:
    """Closes the file; the next read opens it again."""
    if self._file is not None and self._process == os.getpid():
      self._file.close()
    self._file = None

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {"_file": None}


def in_threads(
  function: Callable[[Any], Any], arguments: Iterable[Any]
) -> list[Any]:
  """Maps in threads: opening many files mostly waits for the storage."""
  with futures.ThreadPoolExecutor(_OPEN_THREADS) as executor:
    return list(executor.map(function, arguments))


def _is_local(path: epath.Path) -> bool:
  return "://" not in os.fspath(path)


def _without_protocol(path: str | os.PathLike) -> str:
  return os.fspath(path).split("://", 1)[-1]
