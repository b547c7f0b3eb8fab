"""The captions file: what is done, and the cache of what was asked.

One JSON line a sample, written whole and at once, so that a run that is
killed anywhere leaves a file that the next run goes on from.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
from typing import Any
from typing import BinaryIO

from unialign_jax.data.sources import base
from unialign_jax.features.captioning import captioner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """One sample's caption; the names are the keys of the file.

  Attributes:
    source: `Raw.source`.
    key: `Raw.key`.
    image_sha256: Of the target, see `image_sha256`.
    caption: As it goes into a record.
    model: What wrote it.
    prompt: Id in `prompts`.
  """

  source: str
  key: str
  image_sha256: str
  caption: str
  model: str
  prompt: str

  @property
  def asked(self) -> tuple[str, str, str]:
    """What was asked; the same is never asked twice."""
    return self.image_sha256, self.model, self.prompt


_NAMES = {field.name for field in dataclasses.fields(Line)}


class Ledger:
  """A captions file that one run reads and appends to.

  Args:
    path: Of a local file; made where it is missing. A last line without its
      line break, which a killed run leaves, is taken off.

  Attributes:
    finished: (source, key) of every line.
    captions: What is known already, by `Line.asked`.

  Raises:
    ValueError: another run has the file, or a line is not a caption.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self.path = local(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = self.path.open("ab+")
    try:
      self._lock()
      lines = self._read()
    except ValueError:
      self._file.close()
      raise
    self.finished = {(line.source, line.key) for line in lines}
    self.captions = {line.asked: line.caption for line in lines}

  def add(self, line: Line) -> None:
    """Writes one line and remembers it."""
    append(self._file, dataclasses.asdict(line))
    self.finished.add((line.source, line.key))
    self.captions[line.asked] = line.caption

  def close(self) -> None:
    self._file.close()

  def _lock(self) -> None:
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(
        f"{self.path}: another run is writing it, expected one run a file;"
        " wait for it or give another --out"
      ) from error

  def _read(self) -> list[Line]:
    self._file.seek(0)
    lines = []
    end = 0
    for number, text in enumerate(self._file, 1):
      if not text.endswith(b"\n"):
        self._file.truncate(end)
        break
      end += len(text)
      lines.append(self._parse(number, text))
    return lines

  def _parse(self, number: int, text: bytes) -> Line:
    try:
      fields = json.loads(text)
      return Line(**{name: fields[name] for name in _NAMES})
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{self.path}, line {number}: got {text[:80]!r}, expected a JSON"
        f" object with {sorted(_NAMES)}; remove the line, or give another"
        " --out"
      ) from error


class Failures:
  """The samples that a run could not caption, one JSON line each.

  Args:
    path: A new file in place of an earlier run's: its samples are tried anew.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._file = path.open("wb")

  def add(self, source: str, key: str, failure: captioner.Failure) -> None:
    fields = {"source": source, "key": key}
    append(self._file, fields | dataclasses.asdict(failure))

  def close(self) -> None:
    self._file.close()


def image_sha256(picture: base.Picture) -> str:
  """Of the stored file, and of the box where only a part of it counts."""
  digest = hashlib.sha256(picture.data)
  if picture.box is not None:
    digest.update(repr(tuple(picture.box)).encode())
  return digest.hexdigest()


def append(file: BinaryIO, fields: dict[str, Any]) -> None:
  """One line, handed to the system at once."""
  text = json.dumps(fields, ensure_ascii=False) + "\n"
  # Names of files, and so keys, need not be valid UTF-8.
  file.write(text.encode(errors="surrogatepass"))
  file.flush()


def local(path: str | os.PathLike[str]) -> pathlib.Path:
  """The path, if lines can be appended there."""
  if re.match(r"\w+://", os.fspath(path)):
    raise ValueError(
      f"--out: got {path}, expected a local file, as lines are appended to it"
      " one by one; copy it to the bucket when the run has ended"
    )
  return pathlib.Path(path)
