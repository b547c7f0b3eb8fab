"""A result in the place that it would have in the paper's tables."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from unialign_jax.evals import registry
from unialign_jax.evals import results
from unialign_jax.evals.report import document
from unialign_jax.evals.report import paper_tables


@dataclasses.dataclass(frozen=True)
class Placed:
  """A result, and where it lies.

  Attributes:
    report: of any benchmark.
    root: folder of all results.
    path: of its file, below that.
    task: which result of a file of lmms-eval; "" where it is this package's.
  """

  report: results.Report
  root: pathlib.Path
  path: pathlib.Path
  task: str = ""

  @property
  def file(self) -> str:
    """Relative to `root`."""
    return str(self.path.relative_to(self.root))

  @property
  def source(self) -> str:
    """The file, and what in it; no other result has the same."""
    return f"{self.file}: {self.task}" if self.task else self.file

  @property
  def model(self) -> str:
    """The model's name, with the beginning of what tells it from others.

    Where no model is recorded, as in a folder that another program filled, it
    goes by the folder.
    """
    settings = self.report.settings
    name = settings.get("noted", {}).get("model")
    if not name:
      folder = self.path.parent.relative_to(self.root)
      # The root alone has no name relative to itself.
      shown = folder if folder.name else self.root.resolve().name
      return f"{shown} (model not recorded)"
    network = settings.get("identity", {}).get("network", "")
    return f"{name} ({network[:8]})" if network else name


def beside(report: results.Report) -> document.Table | None:
  """The paper's table with this result below it; None if there is none.

  Args:
    report: of a benchmark.
  """
  table = paper_tables.TABLES.get(report.result.benchmark)
  if table is None:
    return None
  return _with_rows(
    table, {"this model": [_cell(report, c, table) for c in table.columns]}
  )


def overview(found: Sequence[Placed]) -> document.Table | None:
  """Table 1 with a row for each model that has a number for it.

  The row of a model's name has the results of each benchmark's own protocol;
  one of another protocol is in a row of its own that says so, and of several
  results of one kind all but the first are, with their file. None where there
  is nothing to show beside the paper's rows.

  Args:
    found: results of any benchmarks.
  """
  table = paper_tables.OVERVIEW
  by_row: dict[str, dict[str, results.Report]] = {}
  for one in found:
    benchmark, name = one.report.result.benchmark, _row_name(one)
    names = (name, f"{name}, {one.file}", f"{name}, {one.source}")
    free = next(n for n in names if benchmark not in by_row.get(n, {}))
    by_row.setdefault(free, {})[benchmark] = one.report
  rows = {
    name: [
      _cell(of_row[column.benchmark], column, table)
      if column.benchmark in of_row
      else "-"
      for column in table.columns
    ]
    for name, of_row in by_row.items()
  }
  filled = {k: v for k, v in rows.items() if any(c != "-" for c in v)}
  return _with_rows(table, filled) if filled else None


def _row_name(one: Placed) -> str:
  result = one.report.result
  default = registry.default_protocol(result.benchmark)
  if default in (None, result.protocol):
    return one.model
  return f"{one.model}, protocol {result.protocol}"


def _with_rows(
  table: paper_tables.Table, added: dict[str, list[str]]
) -> document.Table:
  ours = {name for name in table.rows if name == paper_tables.OURS}
  rows = [[name, *cells] for name, cells in table.rows.items()]
  rows += [[name, *cells] for name, cells in added.items()]
  marked = [
    i for i, row in enumerate(rows) if row[0] in ours or i >= len(table.rows)
  ]
  head = ["", *(column.label for column in table.columns)]
  return document.Table(head, rows, marked)


def _cell(
  report: results.Report,
  column: paper_tables.Column,
  table: paper_tables.Table,
) -> str:
  """A value with as many digits as the paper prints."""
  if column.metric == paper_tables.TIME:
    known = [time.seconds for time in report.times if time.seconds is not None]
    return f"{np.mean(known):.3g}" if known else "-"
  values = [
    score.value
    for score in report.result.scores
    if (score.group, score.metric) == (column.group, column.metric)
  ]
  if not values or values[0] is None:
    return "-"
  printed = table.rows[paper_tables.OURS][table.columns.index(column)]
  digits = len(printed.partition(".")[2])
  return f"{values[0]:.{digits}f}"
