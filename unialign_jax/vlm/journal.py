"""A file of JSON lines that one run reads and appends to.

Each line is written whole and at once, so that a run that is killed anywhere
leaves a file that the next run goes on from.
"""

import fcntl
import json
import os
import pathlib
import re
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any


class Journal:
  """Lines of earlier runs, and a place for more. Threads may share it.

  Args:
    path: Of a local file; made where it is missing. A last line without its
      line break, which a killed run leaves, is taken off.
    flag: That names it, for errors.

  Attributes:
    path: The same.

  Raises:
    ValueError: another run has the file, or it is not a local one.
  """

  def __init__(self, path: str | os.PathLike[str], flag: str = "--out"):
    self.path = _local(path, flag)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = self.path.open("ab+")
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      self._file.close()
      raise ValueError(
        f"{self.path}: another run is writing it, expected one run a file;"
        f" wait for it or give another {flag}"
      ) from error
    self._take_off_torn_line()

  def add(self, fields: Mapping[str, Any]) -> None:
    """Appends one line and hands it to the system at once."""
    text = json.dumps(fields, ensure_ascii=False) + "\n"
    # One call, since buffered files lock each. Names of files, and so keys,
    # need not be valid UTF-8.
    self._file.write(text.encode(errors="surrogatepass"))
    self._file.flush()

  def close(self) -> None:
    self._file.close()

  def lines(self) -> Iterator[bytes]:
    """The texts of all lines so far, with their line breaks."""
    with self.path.open("rb") as file:
      yield from file

  def _take_off_torn_line(self) -> None:
    end = 0
    for text in self.lines():
      if text.endswith(b"\n"):
        end += len(text)
    self._file.truncate(end)


def _local(path: str | os.PathLike[str], flag: str) -> pathlib.Path:
  """The path, if lines can be appended there."""
  if re.match(r"\w+://", os.fspath(path)):
    raise ValueError(
      f"{flag}: got {path}, expected a local file, as lines are appended to it"
      " one by one; copy it to the bucket when the run has ended"
    )
  return pathlib.Path(path)
