"""A result in the place that it would have in the paper's tables."""

from collections.abc import Sequence

import numpy as np

from unialign_jax.evals import results
from unialign_jax.evals.report import document
from unialign_jax.evals.report import paper_tables


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


def overview(reports: Sequence[results.Report]) -> document.Table | None:
  """Table 1 with a row for each model that has a number for it.

  Of several results of one model and benchmark the first is shown. None where
  there is nothing to show beside the paper's rows.

  Args:
    reports: of any benchmarks.
  """
  table = paper_tables.OVERVIEW
  by_model: dict[str, dict[str, results.Report]] = {}
  for report in reports:
    found = by_model.setdefault(model_name(report), {})
    found.setdefault(report.result.benchmark, report)
  rows = {
    name: [
      _cell(found[column.benchmark], column, table)
      if column.benchmark in found
      else "-"
      for column in table.columns
    ]
    for name, found in by_model.items()
  }
  filled = {k: v for k, v in rows.items() if any(c != "-" for c in v)}
  return _with_rows(table, filled) if filled else None


def model_name(report: results.Report) -> str:
  """The model's name, with the beginning of what tells it from others."""
  settings = report.settings
  name = settings.get("noted", {}).get("model") or "model not recorded"
  network = settings.get("identity", {}).get("network", "")
  return f"{name} ({network[:8]})" if network else name


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
