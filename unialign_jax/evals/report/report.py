"""One report on all results below a folder: Markdown, and one HTML file.

Each result with its intervals and coverage, the paper's rows beside it, what
is official and what is not, how it was made, and some of its pictures. Results
of lmms-eval are in it too.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from etils import epath

from unialign_jax.evals import results
from unialign_jax.evals.report import comparison
from unialign_jax.evals.report import document
from unialign_jax.evals.report import lmms_eval
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
_COUNTED = {  # by whether lmms-eval counted
  False: "pictures and texts are there",
  True: "questions were asked",
}
_LEFT_OUT = "Tasks of lmms-eval that no table of the paper has are left out:"


def write(root: pathlib.Path) -> list[pathlib.Path]:
  """Writes report.md and report.html into a folder; returns their paths.

  Args:
    root: with results below it, or in it.

  Raises:
    ValueError: no results there, or files that are none.
  """
  found = read(root)
  blocks = document_of(found)
  text, shown = markdown.render(blocks)
  written = {"report.md": text, "report.html": page.render(blocks, _TITLE)}
  for name, jpeg in shown.items():
    files.write(epath.Path(root / markdown.FOLDER / name), jpeg)
  for name, content in written.items():
    files.write(epath.Path(root / name), content.encode())
  return [root / name for name in written]


@dataclasses.dataclass(frozen=True)
class Contents:
  """What is below a folder.

  Attributes:
    placed: all results, in the order of their folders, `results.json` before
      the others of a folder, and those of lmms-eval last.
    left_out: tasks of lmms-eval that no table of the paper has, with their
      files.
  """

  placed: Sequence[comparison.Placed]
  left_out: Sequence[str]


def read(root: pathlib.Path) -> Contents:
  """All results below a folder.

  Raises:
    ValueError: as `write`.
  """
  if not root.is_dir():
    raise ValueError(f"--report: got {root}, expected a folder with results.")
  paths = [path for path in root.rglob(_PATTERN) if path.is_file()]
  paths.sort(key=lambda path: (path.parent, path.name != results.NAME, path))
  placed = [comparison.Placed(results.read(path), root, path) for path in paths]
  left_out = []
  for path in lmms_eval.find(root):
    by_task, others = lmms_eval.read(path)
    placed += [
      comparison.Placed(report, root, path, task)
      for task, report in by_task.items()
    ]
    left_out += [f"{task} ({path.relative_to(root)})" for task in others]
  if not placed:
    raise ValueError(
      f"--report: got no {results.NAME} below {root}, expected the --out of"
      " `python -m unialign_jax.evaluate`, or a folder of several."
      + (f" {_LEFT_OUT} {', '.join(left_out)}." if left_out else "")
    )
  return Contents(placed, left_out)


def document_of(found: Contents) -> list[document.Block]:
  """All blocks of the report."""
  blocks: list[document.Block] = [
    document.Heading(1, _TITLE),
    document.Bullets(_READING),
    document.Heading(2, "Overview"),
    _summary(found.placed),
  ]
  if found.left_out:
    text = f"{_LEFT_OUT} {', '.join(found.left_out)}."
    blocks.append(document.Paragraph(text))
  overview = comparison.overview(found.placed)
  if overview is not None:
    blocks.append(document.Heading(3, "Table 1 of the paper, and here"))
    blocks.append(overview)
  for number, one in enumerate(found.placed):
    blocks += _section(one, f"{number:03d}")
  return blocks


def _summary(placed: Sequence[comparison.Placed]) -> document.Table:
  head = ["benchmark", "protocol", "model", "scorer", "official", "made"]
  rows = [
    [
      one.report.result.benchmark,
      one.report.result.protocol,
      one.model,
      one.report.result.scorer,
      _yes(one.report.result.official),
      f"{one.report.made} of {one.report.wanted}",
      one.source,
    ]
    for one in placed
  ]
  return document.Table([*head, "file"], rows)


def _section(one: comparison.Placed, name: str) -> list[document.Block]:
  report, result = one.report, one.report.result
  what = "the official scorer" if result.official else "not the official scorer"
  title = f"{result.benchmark}: {one.model}"
  blocks: list[document.Block] = [
    document.Heading(2, title),
    document.Bullets(
      [
        f"Protocol: {result.protocol}; scored by {result.scorer} ({what}).",
        f"{report.made} of {report.wanted} {_COUNTED[bool(one.task)]}.",
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
  # A file of lmms-eval may lie beside pictures of something else.
  shown = [] if one.task else pictures.chosen(one.path.parent)
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
