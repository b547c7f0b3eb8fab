"""Uncompressed tars read in place: members by name, by sample or by path.

Nothing is ever unpacked to disk, so the names in a tar write nowhere. Opening
reads the headers of all members, once: the index travels with the pickle.
"""

import os
import posixpath
import re
import shlex
from collections.abc import Sequence

import numpy as np
from absl import logging
from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import tar_index

_UNPACK = {
  "tar": "",
  "tar.gz": " | gzip -dc",
  "tgz": " | gzip -dc",
  "tar.bz2": " | bzip2 -dc",
  "tar.xz": " | xz -dc",
  "tar.zst": " | zstd -dc",
}
# x.tar.gz, x.tar.gz.part-aa, x.tar.gz.aa, x.tar.split.000, ...
_PACKED = re.compile(
  r"(?P<stem>.+)\.(?P<kind>tar\.gz|tar\.bz2|tar\.xz|tar\.zst|tgz|tar)"
  r"(?:(?P<mark>[._-](?:part|split)[._-]?|\.)(?P<part>[a-z]{2}|\d+))?",
  re.DOTALL,
)


def find(
  root: str | os.PathLike, pattern: str = "**/*.tar"
) -> list[epath.Path]:
  """The tars under `root`, sorted.

  Args:
    root: A folder, or one file.
    pattern: Of the paths relative to `root`; `**/` stands for any folders.

  Raises:
    SourceError: there is none, or one is still compressed or in parts.
  """
  commands = _unpack_commands(root, pattern)
  if commands:
    raise base.SourceError(
      f"{os.fspath(root)}: got {len(commands)} archives that are compressed or"
      " in parts, expected plain .tar files; run in a shell:\n"
      + "\n".join(commands)
    )
  paths = dataset_files.find(root, pattern)
  if not paths:
    raise base.SourceError(
      f"{os.fspath(root)}: got no file that matches {pattern!r}, expected tars;"
      " give the folder that the data set was downloaded to"
    )
  return paths


class Archive:
  """Random access to the files of one tar.

  Where a name occurs twice the last one counts, as when unpacking. Links and
  other members that are no plain files are left out.

  Args:
    path: Of an uncompressed tar.

  Attributes:
    damaged: Members that the end of the file cuts off.

  Raises:
    SourceError: the file is not an uncompressed tar.
  """

  def __init__(self, path: str | os.PathLike):
    index = tar_index.read(epath.Path(path))
    self.path = epath.Path(path)
    self._file = dataset_files.LazyFile(self.path)
    self._spans = {
      member.name: (member.offset, member.size)
      for member in index.members
      if member.is_whole
    }
    self.damaged = [m.name for m in index.members if not m.is_whole]

  def names(self) -> list[str]:
    """Names of the members that can be read, in the order of the tar."""
    return list(self._spans)

  def __contains__(self, name: str) -> bool:
    return name in self._spans

  def read(self, name: str) -> bytes:
    """The contents of a member.

    Raises:
      KeyError: there is no such member, or it is damaged.
      SourceError: the tar has changed since it was opened.
    """
    return _read(self._file, *self._spans[name])


class Groups:
  """The samples of WebDataset tars: members of a tar that share a stem.

  The stem is the path up to the first dot of the file name; what follows,
  in lower case, tells the members apart. A member without either belongs to
  no sample. Not for several threads at once.

  Args:
    paths: Of the tars; their order is the order of the samples.

  Raises:
    SourceError: a file is not an uncompressed tar.
  """

  def __init__(self, paths: Sequence[epath.Path]):
    paths = [epath.Path(path) for path in paths]
    self._names = dataset_files.stems(paths)
    self._files = [dataset_files.LazyFile(path) for path in paths]
    self._groups = dataset_files.in_threads(tar_index.group, paths)
    sizes = [len(groups.stems) for groups in self._groups]
    self._starts = np.cumsum([0, *sizes])
    self._last: dataset_files.LazyFile | None = None

  def __len__(self) -> int:
    return int(self._starts[-1])

  def key(self, index: int) -> str:
    """The tar's stem, a slash and the sample's stem."""
    number, row = self._locate(index)
    return f"{self._names[number]}/{self._groups[number].stem(row)}"

  def problem(self, index: int) -> str:
    """Why a sample cannot be read: "duplicate stem", "truncated tar" or ""."""
    number, row = self._locate(index)
    return self._groups[number].problems.get(row, "")

  def __getitem__(self, index: int) -> dict[str, bytes]:
    """Contents of the members of a sample by their extensions.

    Raises:
      SourceError: `problem` says why.
    """
    if problem := self.problem(index):
      raise base.SourceError(
        f"{self.key(index)}: got {problem}, expected a sample without a"
        " problem; ask problem() first"
      )
    number, row = self._locate(index)
    file = self._files[number]
    if self._last is not None and self._last is not file:
      self._last.close()
    self._last = file
    return {
      extension: _read(file, offset, size)
      for extension, offset, size in self._groups[number].spans(row)
    }

  def _locate(self, index: int) -> tuple[int, int]:
    """The tar of a sample and its place in there."""
    if not 0 <= index < len(self):
      raise IndexError(f"got sample {index}, expected 0 to {len(self) - 1}")
    number = int(np.searchsorted(self._starts, index, side="right")) - 1
    return number, index - int(self._starts[number])


class Tree:
  """Files by relative path, in folders or in the tars that lie in them.

  A member of a tar has the path that it would have if the tar were unpacked
  where it lies, or its path within the tar.

  Args:
    root: The folder that paths are relative to.

  Raises:
    SourceError: there is no such folder, or a file is not a tar.
  """

  def __init__(self, root: str | os.PathLike):
    self._root = epath.Path(root)
    if not self._root.is_dir():
      raise base.SourceError(
        f"{os.fspath(root)}: got no such folder, expected the one that the"
        " pictures' paths are relative to"
      )
    paths = dataset_files.find(root, "**/*.tar")
    self._archives = dataset_files.in_threads(Archive, paths)
    folders = [path.parent.relative_to(self._root).as_posix() for path in paths]
    self._prefixes = ["" if name == "." else f"{name}/" for name in folders]
    if commands := _unpack_commands(root, "**/*.tar"):
      logging.warning(
        "%s: %d archives are compressed or in parts and are not read. Unless"
        " they were unpacked, run in a shell:\n%s",
        os.fspath(root),
        len(commands),
        "\n".join(commands),
      )

  def read(self, relative_path: str) -> bytes:
    """The contents of a file.

    Raises:
      KeyError: there is none, or the path leads out of the folder.
      Rejection: it is too large to be a picture.
      SourceError: several tars have it.
    """
    name = posixpath.normpath(relative_path)
    if name.startswith(("/", "../")) or name in (".", "..") or "\0" in name:
      raise KeyError(relative_path)
    try:
      return dataset_files.read_file(self._root / name)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
      return self._read_member(relative_path, name)

  def _read_member(self, relative_path: str, name: str) -> bytes:
    found = [
      (archive, member)
      for archive, prefix in zip(self._archives, self._prefixes)
      for member in {name, name.removeprefix(prefix)}
      if member in archive
    ]
    if not found:
      raise KeyError(relative_path)
    if len(found) > 1:
      tars = ", ".join(os.fspath(archive.path) for archive, _ in found)
      raise base.SourceError(
        f"{relative_path}: got it in {tars}, expected it in one tar; give the"
        " folder of one of them as the root"
      )
    archive, member = found[0]
    return archive.read(member)


def _read(file: dataset_files.LazyFile, offset: int, size: int) -> bytes:
  data = file.read(offset, size)
  if len(data) != size:
    raise base.SourceError(
      f"{file.path}: got {len(data)} bytes at byte {offset}, expected {size}:"
      " the tar was changed after it was opened; open the data set again"
    )
  return data


def _unpack_commands(root: str | os.PathLike, pattern: str) -> list[str]:
  """A command for each tar under `root` that is there only packed."""
  names = set(dataset_files.walk(root))
  commands = {}
  for name in sorted(names):
    match = _PACKED.fullmatch(name)
    if match is None or (match["kind"] == "tar" and match["part"] is None):
      continue
    target = f"{match['stem']}.tar"
    if target in names or not dataset_files.matches(pattern, target):
      continue
    packed = shlex.quote(os.fspath(dataset_files.locate(root, name)))
    if match["part"] is not None:
      whole = name.removesuffix(match["part"])
      packed = shlex.quote(os.fspath(dataset_files.locate(root, whole)))
      packed += "?" * len(match["part"])
    tar = os.fspath(dataset_files.locate(root, target))
    commands[target] = (
      f"cat {packed}{_UNPACK[match['kind']]} > {shlex.quote(tar)}"
    )
  return list(commands.values())
