"""The captions file: what is done, and the cache of what was asked."""

import dataclasses
import hashlib
import json
import os
import pathlib

from unialign_jax.data.sources import base
from unialign_jax.vlm import asking
from unialign_jax.vlm import journal


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
    path: See `journal.Journal`.

  Attributes:
    finished: (source, key) of every line.
    captions: What is known already, by `Line.asked`.

  Raises:
    ValueError: another run has the file, or a line is not a caption.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self._journal = journal.Journal(path)
    self.path = self._journal.path
    try:
      lines = [
        self._parse(number, text)
        for number, text in enumerate(self._journal.lines(), start=1)
      ]
    except ValueError:
      self._journal.close()
      raise
    self.finished = {(line.source, line.key) for line in lines}
    self.captions = {line.asked: line.caption for line in lines}

  def add(self, line: Line) -> None:
    """Writes one line and remembers it."""
    self._journal.add(dataclasses.asdict(line))
    self.finished.add((line.source, line.key))
    self.captions[line.asked] = line.caption

  def close(self) -> None:
    self._journal.close()

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
    path.unlink(missing_ok=True)
    self._journal = journal.Journal(path)
    self.path = path

  def add(self, source: str, key: str, failure: asking.Failure) -> None:
    fields = {"source": source, "key": key}
    self._journal.add(fields | dataclasses.asdict(failure))

  def close(self) -> None:
    self._journal.close()


def image_sha256(picture: base.Picture) -> str:
  """Of the stored file, and of the box where only a part of it counts."""
  digest = hashlib.sha256(picture.data)
  if picture.box is not None:
    digest.update(repr(tuple(picture.box)).encode())
  return digest.hexdigest()
