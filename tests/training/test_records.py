"""The log of records, where steps were taken again."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tests.training import runs
from unialign_jax.training import incidents
from unialign_jax.training import records


def _write(
  workdir: pathlib.Path,
  process: int,
  start: int,
  taken: dict[int, Sequence[int]],
) -> None:
  with records.RecordLog(workdir / records.file_name(process), start) as log:
    for step, ids in taken.items():
      log.add(
        step,
        incidents.Origin(index=step - 1, source="a", record_ids=np.array(ids)),
      )


def test_lines_of_the_last_start_count(tmp_path: pathlib.Path):
  """Two processes take three steps; one takes the third again."""
  _write(tmp_path, 0, 1, {1: [0, 1], 2: [4, 5], 3: [8, 9]})
  _write(tmp_path, 1, 1, {1: [2, 3], 2: [6, 7], 3: [10, 11]})
  _write(tmp_path, 0, 2, {3: [8, 9, 10, 11], 4: [12, 13, 14, 15]})
  assert runs.records(tmp_path) == {
    step: ("a", list(range(4 * step - 4, 4 * step))) for step in (1, 2, 3, 4)
  }


def test_within_a_start_the_last_line_counts(tmp_path: pathlib.Path):
  """Both go back, and on with another batch."""
  for process in range(2):
    ids = np.arange(2) + 2 * process
    _write(tmp_path, process, 1, {1: ids + 0, 2: ids + 4})
    _write(tmp_path, process, 1, {2: ids + 8, 3: ids + 12})
  assert runs.records(tmp_path) == {
    1: ("a", [0, 1, 2, 3]),
    2: ("a", [8, 9, 10, 11]),
    3: ("a", [12, 13, 14, 15]),
  }
