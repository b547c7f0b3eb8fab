"""The numbers of arXiv 2509.23760, Tables 1 to 4, as they are printed.

"-" is a cell that the paper leaves empty. The paper marks methods that have a
language model rewrite GenEval's prompts; the marks are not in here. Table 1
and Table 3 print 6.42 and 6.41 for OmniGen2, and 1.86 and 4.52 for MagicBrush.
"""

import dataclasses

OURS = "UniAlignment"
TIME = "time"  # a column of seconds a picture


@dataclasses.dataclass(frozen=True)
class Column:
  """One column, and the score that belongs in it.

  Attributes:
    label: of the paper.
    group, metric: of `benchmark.Score`; the metric `TIME` is the mean time of
      the groups.
    benchmark: which, where the table has several.
  """

  label: str
  group: str
  metric: str
  benchmark: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A table of the paper, or the part of one that is of one benchmark.

  Attributes:
    number: in the paper.
    columns: from left to right.
    rows: by method, a cell a column.
  """

  number: int
  columns: tuple[Column, ...]
  rows: dict[str, tuple[str, ...]]


_OVERVIEW = """
SDXL 0.55 74.7 - - - - - - - - -
SD3-medium 0.62 84.1 - - - - - - - - -
FLUX.1-dev 0.66 84.0 - - - - - - - - -
DualDiffusion 0.65 81.3 - - - - - 7.71 7.29 - -
Instruct-P2P - - 1.88 3.68 - - - - - - -
MagicBrush - - 1.90 1.86 - - - - - - -
AnyEdit - - 2.45 3.21 - - - - - - -
Step1X-Edit - - 3.06 6.70 - - - - - 6.24 6.10
IC-Edit - - 3.05 4.84 - - - - - - -
LLaVA-1.5 - - - - 36.4 67.8 36.3 - - - -
LLaVA-NeXT - - - - 79.3 51.1 57.4 - - - -
Show-o 0.68 67.27 - - - 27.4 - - - - -
Janus-Pro 0.80 84.19 - - 75.5 36.3 39.8 - - - -
Emu3 0.54 80.60 - - 58.5 31.6 37.2 - - - -
BAGEL 0.82 85.07 3.20 6.52 85.0 55.3 67.2 - - - -
Uniworld-V1 0.80 81.38 3.26 4.85 83.5 58.6 67.1 6.42 5.58 4.76 5.77
OmniGen2 0.77 83.57 3.44 6.42 79.1 53.1 61.8 7.95 7.90 6.40 5.61
UniAlignment 0.81 85.64 3.25 6.57 80.6 61.3 63.0 8.07 7.97 6.85 5.98
"""
_GENEVAL = """
DualDiffusion 0.97 0.80 0.54 0.76 0.32 0.50 0.65
SDXL 0.98 0.74 0.39 0.85 0.15 0.23 0.55
SD3-medium 0.99 0.94 0.72 0.89 0.33 0.60 0.74
FLUX.1-dev 0.99 0.81 0.79 0.74 0.20 0.47 0.67
LUMINA-Next 0.92 0.46 0.48 0.70 0.09 0.13 0.46
OmniGen 0.98 0.84 0.66 0.74 0.40 0.43 0.68
Show-o 0.98 0.80 0.66 0.84 0.31 0.50 0.68
Janus 0.97 0.68 0.30 0.84 0.46 0.42 0.61
Janus-Pro 0.99 0.89 0.59 0.90 0.79 0.66 0.80
Emu3 0.99 0.81 0.42 0.80 0.49 0.45 0.66
TokenFlow-XL 0.95 0.60 0.41 0.81 0.16 0.24 0.55
BAGEL 0.99 0.94 0.81 0.88 0.64 0.63 0.82
Uniworld-V1 0.99 0.93 0.79 0.89 0.49 0.70 0.80
OmniGen2 1 0.94 0.64 0.88 0.45 0.70 0.77
UniAlignment 0.99 0.95 0.76 0.88 0.56 0.78 0.81
"""
_DPG = """
DualDiffusion 87.33 89.48 86.72 89.95 86.32 81.32
SDXL 83.27 82.43 80.91 86.76 80.41 74.65
SD3-medium 87.90 91.01 88.83 80.70 88.68 84.08
FLUX.1-dev 82.10 89.50 88.70 91.10 89.40 84.00
LUMINA-Next 82.82 88.65 86.44 80.53 81.82 74.63
OmniGen 87.90 88.97 88.47 87.95 83.56 81.16
Show-o 79.33 75.44 78.02 84.45 60.80 67.27
Janus 82.33 87.38 87.70 85.46 86.41 79.68
Janus-Pro 86.90 88.90 89.40 89.32 89.48 84.19
Emu3 85.21 86.68 86.84 90.22 83.15 80.60
TokenFlow-XL 78.72 79.22 81.29 85.22 71.20 73.38
BAGEL 88.94 90.37 91.29 90.82 88.67 85.07
Uniworld-V1 83.64 88.39 88.44 89.27 87.22 81.38
OmniGen2 88.81 88.83 90.18 89.37 90.27 83.57
UniAlignment 91.84 90.16 90.44 91.58 89.55 85.64
"""
_GEDIT = """
Instruct-P2P 3.58 5.49 3.68
MagicBrush 4.68 5.66 4.52
AnyEdit 3.18 5.82 3.21
OmniGen 5.96 5.89 5.06
Step1X-Edit 7.09 6.76 6.70
ICEdit 5.11 6.85 4.84
BAGEL 7.36 6.83 6.52
Uniworld-V1 4.93 7.43 4.85
OmniGen2 7.16 6.77 6.41
UniAlignment 7.25 6.81 6.57
"""
_IMGEDIT = """
Instruct-P2P 2.45 1.83 1.44 2.01 1.50 1.44 3.55 1.2 1.46 1.88
MagicBrush 2.84 1.58 1.51 1.97 1.58 1.75 2.38 1.62 1.22 1.90
AnyEdit 3.18 2.95 1.88 2.47 2.23 2.24 2.85 1.56 2.65 2.45
OmniGen 3.47 3.04 1.71 2.94 2.43 3.21 4.19 2.24 3.38 2.96
Step1X-Edit 3.88 3.14 1.76 3.40 2.41 3.16 4.63 2.64 2.52 3.06
ICEdit 3.58 3.39 1.73 3.15 2.93 3.08 3.84 2.04 3.68 3.05
BAGEL 3.56 3.31 1.70 3.30 2.62 3.24 4.49 2.38 4.17 3.20
Uniworld-V1 3.82 3.64 2.27 3.47 3.24 2.99 4.21 2.96 2.74 3.26
OmniGen2 3.57 3.06 1.77 3.74 3.20 3.57 4.81 2.52 4.68 3.44
UniAlignment 3.66 3.21 2.07 3.45 2.51 3.28 4.63 2.50 3.95 3.25
"""
_SEMGEN = """
DualDiffusion 2 7.86 7.65 7.71 7.49 7.54 7.29 - - - - - -
Step1X-Edit 91 - - - - - - 6.16 6.65 6.24 6.43 6.84 6.10
UniWorld 21 5.86 7.82 6.42 5.13 7.59 5.58 4.22 7.16 4.76 5.98 6.95 5.77
OmniGen2 37 8.29 7.72 7.95 8.29 7.77 7.90 6.42 6.72 6.40 5.97 6.70 5.61
UniAlignment 2 8.53 7.80 8.07 8.48 7.69 7.97 6.94 7.03 6.85 6.23 6.80 5.98
"""


def _columns(metric: str, **groups: str) -> tuple[Column, ...]:
  return tuple(
    Column(label.replace("_", " "), group, metric)
    for label, group in groups.items()
  )


def _table(number: int, columns: tuple[Column, ...], text: str) -> Table:
  rows = {}
  for line in text.split("\n"):
    name, *cells = line.split() or [""]
    if name:
      rows[name] = tuple(cells)
  return Table(number=number, columns=columns, rows=rows)


_SEMGEN_GROUPS = ("T2I_Long", "T2I_Sem", "Edit_Multi", "Edit_Sem")
OVERVIEW = _table(
  1,
  (
    Column("GenEval", "Overall", "accuracy", "geneval"),
    Column("DPG-Bench", "Overall", "score", "dpg"),
    Column("ImgEdit-Bench", "Overall", "score", "imgedit"),
    Column("GEdit-Bench-EN", "Average", "G_O", "gedit"),
    Column("MMB", "Overall", "score", "mmbench"),
    Column("MMMU", "Overall", "score", "mmmu"),
    Column("MM-Vet", "Overall", "score", "mmvet"),
    *(Column(group, group, "O", "semgen") for group in _SEMGEN_GROUPS),
  ),
  _OVERVIEW,
)
TABLES = {
  "geneval": _table(
    2,
    _columns(
      "accuracy",
      Single_object="single_object",
      Two_object="two_object",
      Counting="counting",
      Colors="colors",
      Position="position",
      Color_attribution="color_attr",
      Overall="Overall",
    ),
    _GENEVAL,
  ),
  "dpg": _table(
    2,
    _columns(
      "score",
      Global="global",
      Entity="entity",
      Attribute="attribute",
      Relation="relation",
      Other="other",
      Overall="Overall",
    ),
    _DPG,
  ),
  "gedit": _table(
    3,
    tuple(
      Column(label, "Average", f"G_{label}") for label in ("SC", "PQ", "O")
    ),
    _GEDIT,
  ),
  "imgedit": _table(
    3,
    _columns(
      "score",
      Add="add",
      Adjust="adjust",
      Extract="extract",
      Replace="replace",
      Remove="remove",
      Background="background",
      Style="style",
      Hybrid="compose",
      Action="action",
      Overall="Overall",
    ),
    _IMGEDIT,
  ),
  "semgen": _table(
    4,
    (
      Column("Time, s", "", TIME),
      *(
        Column(f"{group} {metric}", group, metric)
        for group in _SEMGEN_GROUPS
        for metric in ("IC", "PQ", "O")
      ),
    ),
    _SEMGEN,
  ),
}
