"""What lies where in a tar, from its headers alone."""

import dataclasses
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from absl import logging
from etils import epath

from unialign_jax.data.sources import base

# Of an extended header, of which tarfile would read whatever size it claims.
_MAX_HEADER = 2**16
# More than a file name has; tarfile takes quadratic time over them.
_DIGITS = re.compile(rb"\d{300}")
# What tarfile raises on damaged headers: it recurses for each extended one.
_DAMAGE = (
  tarfile.TarError,
  ValueError,
  ArithmeticError,
  LookupError,
  RecursionError,
)
_DUPLICATE = "duplicate stem"
_TRUNCATED = "truncated tar"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Member:
  """A plain file in a tar.

  Attributes:
    name: Its path, without a leading "./".
    offset: Of its first byte in the tar.
    size: In bytes.
    is_whole: Whether all of its bytes are there.
  """

  name: str
  offset: int
  size: int
  is_whole: bool


@dataclasses.dataclass(frozen=True)
class Index:
  """The plain files of a tar, and whether the tar breaks off after them."""

  members: list[Member]
  is_truncated: bool


def read(path: epath.Path) -> Index:
  """Reads the headers of a tar.

  Raises:
    SourceError: the file is not an uncompressed tar.
  """
  with path.open("rb") as file:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
      tar = tarfile.TarFile(fileobj=_Headers(file))
    except _DAMAGE as e:
      raise base.SourceError(
        f"{path}: got {length} bytes that begin with no tar header ({e}),"
        " expected an uncompressed tar; download it again"
      ) from e
    members = []
    problem = ""
    try:
      while (info := tar.next()) is not None:
        tar.members.clear()  # tarfile would keep every header
        if info.size < 0:  # tarfile would go back, and round in circles
          raise ValueError(f"size {info.size}")
        if info.isreg() and not info.issparse():
          members.append(_member(info, length))
      problem = _end_problem(path, file, tar.offset)
    except _DAMAGE as e:
      problem = str(e)
  if problem:
    logging.warning(
      "%s: breaks off after %d members (%s): what followed is lost; download"
      " it again",
      path,
      len(members),
      problem,
    )
  return Index(members, bool(problem))


class _Headers:
  """A file of which only short pieces are read.

  Args:
    file: Of a tar.
  """

  name = None
  mode = "rb"

  def __init__(self, file: BinaryIO):
    self._file = file
    self.seek = file.seek
    self.tell = file.tell

  def read(self, size: int) -> bytes:
    """Reads a header; ReadError where it cannot be one."""
    if size > _MAX_HEADER:
      raise tarfile.ReadError(f"a header of {size} bytes")
    data = self._file.read(size)
    if _DIGITS.search(data):
      raise tarfile.ReadError("a header of digits")
    return data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
  """The samples of one tar, kept small: there may be many millions.

  Attributes:
    stems: Bytes [samples], UTF-8.
    starts: Int64 [samples + 1], the first member of each sample.
    offsets: Int64 [members], in bytes.
    sizes: Int64 [members], in bytes.
    kinds: Int32 [members], the extension's place in `extensions`.
    extensions: All that occur.
    problems: By sample, where there is one.
  """

  stems: np.ndarray
  starts: np.ndarray
  offsets: np.ndarray
  sizes: np.ndarray
  kinds: np.ndarray
  extensions: tuple[str, ...]
  problems: Mapping[int, str]

  def stem(self, row: int) -> str:
    """The stem of a sample."""
    return self.stems[row].decode("utf-8", "surrogateescape")

  def spans(self, row: int) -> Iterator[tuple[str, int, int]]:
    """Extension, offset and size of each member of a sample."""
    for member in range(self.starts[row], self.starts[row + 1]):
      yield (
        self.extensions[self.kinds[member]],
        int(self.offsets[member]),
        int(self.sizes[member]),
      )


def group(path: epath.Path) -> Groups:
  """Groups the members of a tar by stem, in the order of their first member.

  Raises:
    SourceError: the file is not an uncompressed tar.
  """
  index = read(path)
  samples: dict[str, dict[str, Member]] = {}
  problems = {}
  stem = ""
  for member in index.members:
    named = _split(member.name)
    if named is None:
      continue
    stem, extension = named
    sample = samples.setdefault(stem, {})
    if extension in sample:
      problems[stem] = _DUPLICATE
    if not member.is_whole:
      problems[stem] = _TRUNCATED
    sample[extension] = member
  if index.is_truncated and stem:
    problems[stem] = _TRUNCATED  # further members of it may be lost
  rows = {stem: row for row, stem in enumerate(samples)}
  return _packed(samples, {rows[stem]: text for stem, text in problems.items()})


def _packed(
  samples: Mapping[str, Mapping[str, Member]], problems: Mapping[int, str]
) -> Groups:
  members = [m for sample in samples.values() for m in sample.values()]
  extensions = [name for sample in samples.values() for name in sample]
  kinds = {name: kind for kind, name in enumerate(sorted(set(extensions)))}
  counts = [len(sample) for sample in samples.values()]
  stems = [stem.encode("utf-8", "surrogateescape") for stem in samples]
  return Groups(
    stems=np.array(stems, np.bytes_),
    starts=np.cumsum([0, *counts]),
    offsets=np.array([member.offset for member in members], np.int64),
    sizes=np.array([member.size for member in members], np.int64),
    kinds=np.array([kinds[name] for name in extensions], np.int32),
    extensions=tuple(kinds),
    problems=problems,
  )


def _member(info: tarfile.TarInfo, length: int) -> Member:
  return Member(
    name=posixpath.normpath(info.name),
    offset=info.offset_data,
    size=info.size,
    is_whole=info.offset_data + info.size <= length,
  )


def _end_problem(path: epath.Path, file: BinaryIO, offset: int) -> str:
  """Whether tarfile stopped at the end mark, or where it could not go on."""
  file.seek(offset)
  block = file.read(tarfile.BLOCKSIZE)
  if not block:
    # Some writers leave the mark out; a tar cut off right here looks the same.
    logging.warning("%s: has no end mark; it may have been cut off", path)
    return ""
  if len(block) == tarfile.BLOCKSIZE and not any(block):
    return ""
  return f"no header at byte {offset}"


def _split(name: str) -> tuple[str, str] | None:
  """Stem and extension of a member, or None where it lacks one."""
  folder, base_name = posixpath.split(name)
  stem, dot, extension = base_name.partition(".")
  if not (stem and dot and extension):
    return None
  return posixpath.join(folder, stem), extension.lower()
