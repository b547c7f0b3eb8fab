"""Which records each step was made of, where `train.log_records` asks for it.

records.jsonl of process 0, records.N.jsonl of process N: a line a step, with
the part of the batch that the process read. A step that is taken again has a
line more: after a kill with the same batch, maybe shared by another number of
processes, after a rewind with another batch. So each line says which start of
the run it is of (`starts.py`). What the step was made of in the end are its
lines of the last start that has any; of several in one file, the last.
"""

import pathlib
from typing import IO

from unialign_jax.training import incidents
from unialign_jax.training import lines


def file_name(process: int) -> str:
  """Of a process, in the workdir."""
  return f"records.{process}.jsonl" if process else "records.jsonl"


class RecordLog:
  """Adds lines; use it as a context manager.

  Args:
    path: of the file; None writes nothing.
    start: number of this start of the run.
  """

  def __init__(self, path: pathlib.Path | None, start: int):
    self._path = path
    self._start = start
    self._file: IO[str] | None = None

  def __enter__(self) -> "RecordLog":
    if self._path is not None:
      lines.trim(self._path)
      self._file = self._path.open("a", buffering=1)
    return self

  def __exit__(self, *unused: object) -> None:
    if self._file is not None:
      self._file.close()

  def add(self, step: int, origin: incidents.Origin) -> None:
    """Notes what a step is taken of."""
    if self._file is None:
      return
    record = {
      "start": self._start,
      "step": step,
      "batch": origin.index,
      "source": origin.source,
      "record_ids": origin.record_ids.tolist(),
    }
    self._file.write(lines.encode(record))
