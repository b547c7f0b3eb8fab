"""One report on all results below a folder: Markdown, and one HTML file.

Each result with its intervals and coverage, the paper's rows beside it, what
is official and what is not, how it was made, and some of its pictures.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.evals import results
from unialign_jax.evals.report import comparison
from unialign_jax.evals.report import document
from unialign_jax.evals.report import markdown
from unialign_jax.evals.report import page
from unialign_jax.evals.report import paper_tables
from unialign_jax.evals.report import pictures
from unialign_jax.features import files

_TITLE = "Evaluation"
_PATTERN = "results*.json"
_READING = (
  "A number in brackets is a 95 % bootstrap interval over samples. The paper's"
  " numbers are printed as arXiv 2509.23760 prints them; where a scorer here is"
  " not the official one they are beside, not comparable.",
  "Missing pictures count 0; samples without a verdict are in no mean, and"
  " lower the number of samples.",
)


def write(root: pathlib.Path) -> list[pathlib.Path]:
  """Writes report.md and report.html into a folder; returns their paths.

  Args:
    root: with results below it, or in it.

  Raises:
    ValueError: no results there, or files that are none.
  """
  found = read(root)
  blocks = document_of(root, found)
  text, shown = markdown.render(blocks)
  written = {"report.md": text, "report.html": page.render(blocks, _TITLE)}
  for name, jpeg in shown.items():
    files.write(epath.Path(root / markdown.FOLDER / name), jpeg)
  for name, content in written.items():
    files.write(epath.Path(root / name), content.encode())
  return [root / name for name in written]


def read(root: pathlib.Path) -> dict[pathlib.Path, results.Report]:
  """All results below a folder by their paths, in order.

  Raises:
    ValueError: as `write`.
  """
  if not root.is_dir():
    raise ValueError(f"--report: got {root}, expected a folder with results.")
  found = {
    path: results.read(path)
    for path in sorted(root.rglob(_PATTERN))
    if path.is_file()
  }
  if not found:
    raise ValueError(
      f"--report: got no {results.NAME} below {root}, expected the --out of"
      " `python -m unialign_jax.evaluate`, or a folder of several."
    )
  return found


def document_of(
  root: pathlib.Path, found: Mapping[pathlib.Path, results.Report]
) -> list[document.Block]:
  """All blocks of the report; arguments as `read` has and gives them."""
  blocks: list[document.Block] = [
    document.Heading(1, _TITLE),
    document.Bullets(_READING),
    document.Heading(2, "Overview"),
    _summary(root, found),
  ]
  overview = comparison.overview(list(found.values()))
  if overview is not None:
    blocks.append(document.Heading(3, "Table 1 of the paper, and here"))
    blocks.append(overview)
  for number, (path, report) in enumerate(found.items()):
    blocks += _section(root, path, report, f"{number:03d}")
  return blocks


def _summary(
  root: pathlib.Path, found: Mapping[pathlib.Path, results.Report]
) -> document.Table:
  head = ["benchmark", "protocol", "model", "scorer", "official", "made"]
  rows = [
    [
      report.result.benchmark,
      report.result.protocol,
      comparison.model_name(report),
      report.result.scorer,
      _yes(report.result.official),
      f"{report.made} of {report.wanted}",
      str(path.relative_to(root)),
    ]
    for path, report in found.items()
  ]
  return document.Table([*head, "file"], rows)


def _section(
  root: pathlib.Path, path: pathlib.Path, report: results.Report, name: str
) -> list[document.Block]:
  result = report.result
  what = "the official scorer" if result.official else "not the official scorer"
  title = f"{result.benchmark}: {comparison.model_name(report)}"
  blocks: list[document.Block] = [
    document.Heading(2, title),
    document.Bullets(
      [
        f"Protocol: {result.protocol}; scored by {result.scorer} ({what}).",
        f"{report.made} of {report.wanted} pictures and texts are there.",
        *result.notes,
      ]
    ),
    document.Table(*results.cells(report)),
  ]
  table = comparison.beside(report)
  if table is not None:
    number = paper_tables.TABLES[result.benchmark].number
    blocks.append(document.Heading(3, f"Table {number} of the paper, and here"))
    blocks.append(table)
  shown = pictures.chosen(path.parent)
  if shown:
    blocks.append(document.Heading(3, "Pictures"))
    blocks.append(document.Sheet(name, shown))
  settings = {**report.settings, "scored with": report.scored_with}
  blocks.append(document.Heading(3, "Settings"))
  blocks.append(document.Table(["setting", "value"], _flat(settings)))
  return blocks


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
  """Names with dots, and values."""
  rows = []
  for key, value in settings.items():
    if isinstance(value, dict):
      rows += _flat(value, f"{prefix}{key}.")
    else:
      rows.append([f"{prefix}{key}", str(value)])
  return rows


def _yes(value: bool) -> str:
  return "yes" if value else "no"
