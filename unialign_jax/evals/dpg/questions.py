"""DPG-Bench's questions: yes or no, some of them only where others are yes."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

NAME = "dpg_bench.csv"
_COLUMNS = (
  *("item_id", "proposition_id", "dependency", "tuple"),
  "question_natural_language",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """One question about the picture of an item.

  Attributes:
    number: within the item.
    text: what is asked.
    parents: numbers of questions without whose yes it makes no sense.
    detailed: its category, e.g. "attribute - color" (the tables' L2).
  """

  number: int
  text: str
  parents: tuple[int, ...]
  detailed: str

  @property
  def broad(self) -> str:
    """Its category's first word, e.g. "attribute" (L1)."""
    return self.detailed.split("-")[0].strip()


Items = Mapping[str, Mapping[int, Question]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions:
  """The file, read in two ways.

  Attributes:
    items: every question, by item and number, in the order of the file.
    released: as compute_dpg_bench.py reads them: without the file's first
      row, and of an item whose rows are not together only the last of them.
    oddities: rows that contradict others, and what becomes of them.
  """

  items: Items
  released: Items
  oddities: Sequence[str]


def read(path: pathlib.Path) -> Questions:
  """Reads the file by its header.

  Raises:
    ValueError: no such file, missing columns, or rows that are no questions.
  """
  rows = _rows(path)
  items: dict[str, dict[int, Question]] = {}
  released: dict[str, dict[int, Question]] = {}
  oddities = []
  before = None
  for place, (item, question) in enumerate(rows):
    of_item = items.setdefault(item, {})
    if question.number in of_item:
      oddities.append(f"{item} has question {question.number} twice: the last")
    of_item[question.number] = question
    if place == 0:
      continue
    if item != before:
      released[item] = {}
    released[item][question.number] = question
    before = item
  for item, of_item in items.items():
    for question in of_item.values():
      if unknown := sorted(set(question.parents) - set(of_item)):
        oddities.append(
          f"{item} {question.number} depends on {unknown}, which it has not: on"
          " the rest"
        )
  return Questions(items=items, released=released, oddities=oddities)


def _rows(path: pathlib.Path) -> list[tuple[str, Question]]:
  """Item and question of each row."""
  try:
    with path.open(encoding="utf-8-sig", newline="") as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or ()
      table = [(reader.line_num, row) for row in reader]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(
      f"{path}: cannot be read ({error}); expected DPG-Bench's {NAME}."
    ) from error
  if missing := sorted(set(_COLUMNS) - set(columns)):
    raise ValueError(
      f"{path}: got columns {list(columns)}, expected {missing} too; give"
      f" DPG-Bench's {NAME}."
    )
  rows, problems = [], []
  for line, fields in table:
    try:
      rows.append((fields["item_id"].strip(), _question(fields)))
    except (ValueError, AttributeError) as error:
      problems.append(f"line {line}: {error}")
  if problems:
    raise ValueError(
      f"{path}: {len(problems)} rows are no questions; get the file again:\n  "
      + "\n  ".join(problems[:20])
    )
  return rows


def _question(fields: Mapping[str, str]) -> Question:
  parents = [int(part) for part in fields["dependency"].split(",")]
  text = fields["question_natural_language"]
  if not text.strip():
    raise ValueError("got no question")
  return Question(
    number=int(fields["proposition_id"]),
    text=text,
    parents=tuple(parent for parent in parents if parent != 0),
    detailed=fields["tuple"].split("(")[0].strip(),
  )
