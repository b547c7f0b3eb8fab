"""Small files in DPG-Bench's formats."""

import csv
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

# item, number, dependency, tuple, question
ROWS = (
  ("a1", "1", "0", "entity - whole (dog)", "Is there a dog?"),
  ("a1", "2", "1", "attribute - color (dog, red)", "Is the dog red, or pink?"),
  ("a1", "3", "2", "attribute - size (red dog, big)", "Is the red dog big?"),
  ("a1", "4", "0", "global - (photo)", "Is this a photo?"),
  ("b.2", "1", "0", "entity - whole (cat)", "Is there a cat?"),
  ("b.2", "2", "0", "other - count (cat, ==2)", "Are there two cats?"),
  ("c3", "1", "0", "global (oil painting)", "Is this an oil painting?"),
  ("c3", "2", "0", "entity - whole (boat)", "Is there a boat?"),
  ("c3", "3", "1,2", "relation - spatial (boat, sea, on)", "Is it on the sea?"),
)
COLUMNS = (
  *("item_id", "text", "keywords", "proposition_id", "dependency"),
  *("category_broad", "category_detailed", "tuple"),
  "question_natural_language",
)
ITEMS = ("a1", "b", "c3")


def write_questions(
  path: pathlib.Path, rows: Sequence[tuple[str, ...]] = ROWS
) -> pathlib.Path:
  """The CSV; items are called as the pictures' names give them."""
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    for item, number, dependency, of, question in rows:
      writer.writerow(
        {
          "item_id": item.split(".")[0],
          "text": "a text, with a comma",
          "keywords": "",
          "proposition_id": number,
          "dependency": dependency,
          "category_broad": of.split(" ")[0],
          "category_detailed": of.split("(")[0].strip(),
          "tuple": of,
          "question_natural_language": question,
        }
      )
  return path


def write_data(
  folder: pathlib.Path, rows: Sequence[tuple[str, ...]] = ROWS
) -> pathlib.Path:
  """prompts/ and dpg_bench.csv, as in the official repository."""
  (folder / "prompts").mkdir(parents=True)
  for item in ITEMS:
    path = folder / "prompts" / f"{item}.txt"
    path.write_text(f"A long prompt of {item}.\n")
  write_questions(folder / "dpg_bench.csv", rows)
  return folder


def questions_of(
  item: str, rows: Sequence[tuple[str, ...]] = ROWS
) -> list[tuple[str, ...]]:
  """Number and text of an item's questions, less the first row of the file."""
  return [(row[1], row[4]) for row in rows[1:] if row[0].split(".")[0] == item]


def write_raw(
  folder: pathlib.Path,
  answers: Mapping[str, Sequence[Mapping[str, str]]],
  scores: Mapping[str, Sequence[float]],
  side: int = 512,
) -> pathlib.Path:
  """What compute_dpg_bench.py writes.

  Args:
    folder: for the two files.
    answers: of each crop of an item, by number of the question.
    scores: of each crop of an item, and their mean.
    side: of a crop.
  """
  detail = []
  for item, crops in answers.items():
    for number, said in enumerate(crops):
      left, top = number % 2 * side, number // 2 * side
      box = (left, top, left + side, top + side)
      for question, text in questions_of(item):
        if question in said:
          detail.append(f"im/{item}.png, {box}, {text}, {said[question]}\n")
  (folder / "res_detail.txt").write_text("".join(detail))
  lines = [
    f"im/{item}.png, {', '.join(map(str, found))}\n"
    for item, found in scores.items()
  ]
  printed = (
    "Model: im\nL1 category scores:\n\tentity: 50.0\n\tglobal: 25.0\nL2"
    " category scores:\n\tentity - whole: 50.0\n\tglobal: 25.0\nImage path:"
    " im\nSave results to: res.txt\nDPG-Bench score: 12.5\n"
  )
  (folder / "res.txt").write_text("".join(lines) + printed)
  return folder / "res.txt"
