"""The judgements file: every reply as it came, and what was read in it."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

from PIL import Image

from unialign_jax.vlm import journal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """One attempt at one question; the names are the keys of the file.

  Attributes:
    key: of the question, e.g. "edit_multi/3/quality".
    asked: what was asked, see `digest`.
    judge: its identity.
    libraries: what asked it.
    rubric: id in `rubrics`, or of a benchmark's own.
    attempt: from 0.
    reply: as it came; "" where the question was refused or rejected, None
      where the attempt got lost.
    read: in it, scores or a text; None where it holds none.
    reason: why not, else "".
    detail: of the reason.
  """

  key: str
  asked: str
  judge: str
  libraries: str
  rubric: str
  attempt: int
  reply: str | None
  read: tuple[float, ...] | str | None
  reason: str = ""
  detail: str = ""


_NAMES = {field.name for field in dataclasses.fields(Line)}


class Ledger:
  """A judgements file that one run reads and appends to; threads may share it.

  Args:
    path: of a local file; made where it is missing. What a killed run left
      unfinished at its end is taken off.

  Raises:
    ValueError: another run has the file, or a line is not a judgement.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self._journal = journal.Journal(path)
    self.path = self._journal.path
    self._lines: dict[tuple[str, str], list[Line]] = {}
    try:
      for number, text in enumerate(self._journal.lines(), start=1):
        self._remember(self._parse(number, text))
    except ValueError:
      self._journal.close()
      raise

  def __enter__(self) -> "Ledger":
    return self

  def __exit__(self, *exc_info: object) -> None:
    self._journal.close()

  def replies(self, key: str, asked: str) -> list[Line]:
    """The replies to a question so far, in order, without lost attempts."""
    lines = self._lines.get((key, asked), [])
    return [line for line in lines if line.reply is not None]

  def has_reply_of(self, judge: str) -> bool:
    """Whether a judge has said anything at all, by its identity."""
    lines = itertools.chain.from_iterable(self._lines.values())
    return any(line.judge == judge and line.reply for line in lines)

  def add(self, line: Line) -> None:
    """Writes one attempt and remembers it."""
    self._journal.add(dataclasses.asdict(line))
    self._remember(line)

  def _remember(self, line: Line) -> None:
    self._lines.setdefault((line.key, line.asked), []).append(line)

  def _parse(self, number: int, text: bytes) -> Line:
    try:
      fields: dict[str, Any] = json.loads(text)
      values = {name: fields[name] for name in _NAMES}
      if isinstance(values["read"], list):
        values["read"] = tuple(float(score) for score in values["read"])
      return Line(**values)
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{self.path}, line {number}: got {text[:80]!r}, expected a JSON"
        f" object with {sorted(_NAMES)}; remove the line, or the file to have"
        " everything judged anew"
      ) from error


def digest(judge: str, prompt: str, images: Sequence[Image.Image]) -> str:
  """Changes with whatever may change the reply: judge, words, pixels."""
  found = hashlib.sha256()
  for text in (judge, prompt):
    found.update(hashlib.sha256(text.encode()).digest())
  for image in images:
    found.update(f"{image.mode} {image.size}".encode())
    found.update(hashlib.sha256(image.tobytes()).digest())
  return found.hexdigest()
