"""A report before it is Markdown or HTML: blocks of plain text and pictures.

Texts come from prompts, files and judges; whoever writes a block escapes them.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Heading:
  """Level 1 to 3."""

  level: int
  text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
  text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
  texts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells by row; the first column names the rows.

  Attributes:
    head: of the columns.
    rows: each as long as the head.
    marked: numbers of the rows that stand out.
  """

  head: Sequence[str]
  rows: Sequence[Sequence[str]]
  marked: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
  """A small JPEG, and what it was drawn from."""

  jpeg: bytes
  text: str


@dataclasses.dataclass(frozen=True)
class Sheet:
  """Pictures beside each other; `name` is for a file."""

  name: str
  pictures: Sequence[Picture]


Block = Heading | Paragraph | Bullets | Table | Sheet
