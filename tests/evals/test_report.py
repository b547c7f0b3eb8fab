"""One report on all results: complete, and safe to open."""

import dataclasses
import html.parser
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import registry
from unialign_jax.evals import results
from unialign_jax.evals.report import comparison
from unialign_jax.evals.report import markdown
from unialign_jax.evals.report import paper_tables
from unialign_jax.evals.report import report
from unialign_jax.use import outputs

EVIL = '<script>alert("x")</script> | ![a](http://evil.example/a.png) & \x00 b'
SETTINGS = {
  "image": {"steps": 28},
  "identity": {"network": "0123456789abcdef"},
  "noted": {"model": "runs/a", "set": {"name": EVIL}},
}


def _score(group: str, metric: str, value: float | None, **more):
  counts = {"scored": 4, "expected": 4} | more
  return benchmark_lib.Score(group=group, metric=metric, value=value, **counts)


def _report(name: str, protocol: str, scores, **more) -> results.Report:
  return results.Report(
    result=benchmark_lib.Result(
      benchmark=name,
      protocol=protocol,
      official=False,
      scorer=f"judge {EVIL}",
      scores=scores,
      notes=["Only the first 4 of 150."],
    ),
    **{"made": 3, "wanted": 4, "settings": SETTINGS} | more,
  )


GENEVAL = _report(
  "geneval",
  "repaired",
  [
    _score("colors", "accuracy", 0.75, low=0.5, high=1.0),
    _score("counting", "accuracy", None, scored=0),
    _score("Overall", "accuracy", 0.6789),
  ],
)
SEMGEN = _report(
  "semgen",
  "release",
  [
    _score("T2I_Long", "IC", 8.51, low=8.1, high=8.9, scored=3),
    _score("T2I_Long", "PQ", 7.5),
    _score("T2I_Long", "O", 7.911),
  ],
  times=[
    results.Time(group="T2I_Long", seconds=1.5, counted=4),
    results.Time(group="Edit_Sem", seconds=2.5, counted=4),
    results.Time(group="Edit_Multi", seconds=None, counted=0),
  ],
)
SHAPES = _report("shapes", "verifier", [_score("captions", "score", 0.5)])


def _picture(path: pathlib.Path, group: str, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(np.full((20, 30, 3), 100, np.uint8))
  outputs.save_png(path, image, {"group": group, "text": text})


class _Page(html.parser.HTMLParser):
  """Tags, attributes that load something, and all text."""

  def __init__(self, text: str):
    super().__init__()
    self.tags: list[str] = []
    self.loaded: list[str] = []
    self.said = ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.loaded += [v for k, v in attrs if k in ("src", "href", "srcset")]

  def handle_data(self, data):
    if self.lasttag != "style":
      self.said += data


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[pathlib.Path, str, str]:
  """The folder, the Markdown and the HTML of a report on three results."""
  root = tmp_path_factory.mktemp("evals")
  for name, found in (
    ("a/geneval", GENEVAL),
    ("b/semgen", SEMGEN),
    ("c/shapes", SHAPES),
  ):
    (root / name).mkdir(parents=True)
    results.write(root / name / results.NAME, found)
  for number in range(30):
    _picture(root / f"a/geneval/{number:05d}.png", "colors", EVIL)
  _picture(root / "a/geneval/last.png", "position", "left of it")
  Image.new("RGB", (9, 9)).save(root / "a/geneval/grid.png")
  paths = report.write(root)
  assert [path.name for path in paths] == ["report.md", "report.html"]
  return root, *(path.read_text(encoding="utf-8") for path in paths)


def test_the_page_loads_and_runs_nothing(written):
  _, _, page = written
  parsed = _Page(page)
  assert not {"script", "iframe", "link", "object"} & set(parsed.tags)
  assert parsed.loaded and all(
    url.startswith("data:image/jpeg;base64,") for url in parsed.loaded
  )
  assert "default-src 'none'" in page
  # What was meant to do harm is there to be read.
  assert '<script>alert("x")</script> | ![a](http://evil' in parsed.said
  assert "\x00" not in page


def test_markdown_shows_texts_as_they_are(written):
  root, text, _ = written
  assert not re.findall(r"<\w", text)
  shown = re.findall(r"(?<!\\)!\[[^\]]*\]\(([^)]*)\)", text)
  assert shown == ["report_pictures/000.jpg"]
  assert (root / shown[0]).is_file()
  for line in text.splitlines():
    if line.startswith("|") and "---" not in line:
      cells = re.split(r"(?<!\\)\|", line)
      assert len(cells) > 3
  tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
  for table in tables:
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
    assert len(widths) == 1, table


def test_markdown_escapes_what_it_would_read():
  for text in ("# a", "- a", "1. a", "*a*", "`a`", "[a](b)", "a|b", "\\"):
    escaped = markdown.line(text)
    assert escaped != text
    # A backslash stands before punctuation alone, or it would be seen.
    assert re.sub(r"\\([^\w\s])", r"\1", escaped) == text
  for text in ("0.81", "-", "a - b", "at 1."):
    assert markdown.escape(text) == text
  assert markdown.escape("a\nb") == "a b"
  assert "http://" not in markdown.escape("see http://a.example")


@pytest.mark.parametrize("number", [1, 2])
def test_numbers_come_with_interval_coverage_and_time(written, number: int):
  said = written[1] if number == 1 else _Page(written[2]).said
  plain = said.replace("\\", "")
  for text in (
    "0.750 [0.500, 1.000]",
    "not scored",
    "8.51 [8.10, 8.90]",
    "3 of 4",
    "1.5",
    "not the official scorer",
    "Only the first 4 of 150.",
    "image.steps",
    "runs/a (01234567)",
    "left of it",
  ):
    assert text in plain, text


def test_the_papers_rows_are_beside_with_its_digits(written):
  _, text, _ = written
  ours = [line for line in text.splitlines() if "this model" in line]
  assert len(ours) == 2  # Shapes has no table in the paper
  geneval, semgen = (re.sub(r"[*\\ ]", "", line) for line in ours)
  assert geneval == "|thismodel|-|-|-|0.75|-|-|0.68|"
  assert semgen.startswith("|thismodel|2|8.51|") and "|7.50|7.91|-|" in semgen
  assert "Table 2 of the paper" in text and "Table 4 of the paper" in text
  paper = [line for line in text.splitlines() if "UniAlignment" in line]
  assert len(paper) == 3 and "**0.56**" in paper[1]


def test_the_overview_has_a_row_a_model(written):
  _, text, _ = written
  (line,) = [
    line
    for line in text.splitlines()
    if line.startswith("| **runs/a") and "0.68" in line
  ]
  cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
  assert cells[1] == "0.68" and cells[8] == "7.91" and cells[2] == "-"


def test_the_coverage_of_a_row_is_that_of_its_poorest_number():
  assert results.coverage(SEMGEN.result.scores) == "3 of 4"
  assert results.coverage([_score("a", "b", 1.0)]) == "4"


def test_pictures_are_a_few_of_each_group(written):
  _, text, page = written
  assert page.count("<img") == 24
  assert text.count("position: left of it") == 1


def _write(
  root: pathlib.Path, folder: str, made: results.Report, **changes
) -> None:
  """Writes a result where the command would, with another O, say."""
  result = dataclasses.replace(made.result, **changes)
  name = results.name(
    result.protocol, registry.default_protocol(result.benchmark)
  )
  (root / folder).mkdir(parents=True, exist_ok=True)
  path = root / folder / name
  results.write(path, dataclasses.replace(made, result=result))


def _overview(root: pathlib.Path) -> dict[str, dict[str, str]]:
  """Rows of Table 1 that are not the paper's, without empty cells."""
  table = comparison.overview(report.read(root).placed)
  rows = table.rows[len(paper_tables.OVERVIEW.rows) :]
  assert len({row[0] for row in rows}) == len(rows)
  return {
    row[0]: {k: v for k, v in zip(table.head[1:], row[1:]) if v != "-"}
    for row in rows
  }


def test_protocols_have_a_file_and_a_row_each(tmp_path: pathlib.Path):
  other = [_score("T2I_Long", "O", 1.0)]
  _write(tmp_path, "a", SEMGEN, protocol="paper", scores=other)
  _write(tmp_path, "a", SEMGEN)
  compat = [_score("Overall", "accuracy", 0.1)]
  _write(tmp_path, "a", GENEVAL, protocol="compat", scores=compat)
  placed = report.read(tmp_path).placed
  assert [one.source for one in placed] == [
    *("a/results.json", "a/results-compat.json", "a/results-paper.json")
  ]
  _write(tmp_path, "b", GENEVAL)
  assert _overview(tmp_path) == {
    "runs/a (01234567)": {"T2I_Long": "7.91", "GenEval": "0.68"},
    "runs/a (01234567), protocol paper": {"T2I_Long": "1.00"},
    "runs/a (01234567), protocol compat": {"GenEval": "0.10"},
  }


def test_a_file_that_has_the_default_name_has_its_protocol_in_its_row(
  tmp_path: pathlib.Path,
):
  result = dataclasses.replace(SEMGEN.result, protocol="paper")
  results.write(
    tmp_path / results.NAME, dataclasses.replace(SEMGEN, result=result)
  )
  assert list(_overview(tmp_path)) == ["runs/a (01234567), protocol paper"]


def test_models_that_are_not_recorded_go_by_their_folders(
  tmp_path: pathlib.Path,
):
  for number, folder in enumerate(("x", "y/z")):
    made = dataclasses.replace(SEMGEN, settings={})
    scores = [_score("T2I_Long", "O", float(number))]
    _write(tmp_path, folder, made, scores=scores)
  assert _overview(tmp_path) == {
    "x (model not recorded)": {"T2I_Long": "0.00"},
    "y/z (model not recorded)": {"T2I_Long": "1.00"},
  }
  report.write(tmp_path)
  assert "semgen: y/z" in (tmp_path / "report.md").read_text(encoding="utf-8")
  assert list(_overview(tmp_path / "x")) == ["x (model not recorded)"]


def test_two_results_of_one_model_have_a_row_each(tmp_path: pathlib.Path):
  for folder in ("a", "b", "c"):
    _write(tmp_path, folder, GENEVAL)
  assert list(_overview(tmp_path)) == [
    "runs/a (01234567)",
    "runs/a (01234567), b/results.json",
    "runs/a (01234567), c/results.json",
  ]


def test_a_folder_without_results(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="expected a folder"):
    report.write(tmp_path / "none")
  with pytest.raises(ValueError, match=r"got no results\.json below"):
    report.write(tmp_path)
  (tmp_path / "results.json").write_text('{"version": 1, "result": {}}')
  with pytest.raises(ValueError, match=r"results\.json: got no results of"):
    report.write(tmp_path)
  (tmp_path / "results.json").write_text("[1]")
  with pytest.raises(ValueError, match=r"results\.json: got no results of"):
    report.write(tmp_path)


@pytest.mark.parametrize("name", paper_tables.TABLES)
def test_the_papers_tables_are_whole(name: str):
  table = paper_tables.TABLES[name]
  assert all(len(row) == len(table.columns) for row in table.rows.values())
  cells = [cell for row in table.rows.values() for cell in row if cell != "-"]
  assert all(float(cell) >= 0 for cell in cells)


def test_the_papers_tables_agree_with_each_other():
  """Table 1 repeats cells of the others; ImgEdit's overall is a mean."""
  overview = paper_tables.OVERVIEW
  ours = dict(
    zip(
      (c.benchmark + c.group for c in overview.columns),
      overview.rows[paper_tables.OURS],
    )
  )
  for name, table in paper_tables.TABLES.items():
    for column, cell in zip(table.columns, table.rows[paper_tables.OURS]):
      key = name + column.group
      if key in ours and column.metric in ("accuracy", "score", "G_O", "O"):
        assert ours[key] == cell
  *kinds, overall = map(
    float, paper_tables.TABLES["imgedit"].rows[paper_tables.OURS]
  )
  assert np.mean(kinds) == pytest.approx(overall, abs=0.005)


def test_the_papers_o_is_a_mean_of_geometric_means():
  """Which no mean exceeds that is geometric itself (Cauchy-Schwarz)."""
  table = paper_tables.TABLES["semgen"]
  groups = dict.fromkeys(c.group for c in table.columns if c.group)
  compared = 0
  for row in table.rows.values():
    printed = dict(zip(((c.group, c.metric) for c in table.columns), row))
    for group in groups:
      cells = [printed[group, metric] for metric in ("IC", "PQ", "O")]
      if "-" not in cells:
        ic, pq, o = map(float, cells)
        assert o <= np.sqrt(ic * pq) + 0.01, (row, group)
        compared += 1
  assert compared == 16
