"""The official scorer's files: `{res}.txt` and `{res}_detail.txt`.

A line of the first:  path, score of each crop, their mean
and at its end what the script prints. A line of the second:
path, (left, top, right, bottom), question, answer
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from collections.abc import Sequence

from unialign_jax.evals.dpg import questions

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_SCORES = re.compile(rf"(?P<path>.*?)(?P<scores>(?:, {_NUMBER}){{2,5}})")
_PRINTED = "Model: "
_CATEGORY = re.compile(r"\t(?P<name>[^:]+): (?P<value>\S+)")
_ANSWER = re.compile(
  r"(?P<path>.*?), \((?P<left>\d+), (?P<top>\d+), \d+, \d+\), (?P<said>.*)",
  re.DOTALL,
)
_YES = "yes"


@dataclasses.dataclass(frozen=True)
class Scores:
  """The first file.

  Attributes:
    means: score of each item, 0 to 1.
    printed: the printed categories, 0 to 100, broad ones first.
  """

  means: Mapping[str, float]
  printed: Mapping[str, float]


# What was said of each crop of an item, in the order of asking.
Said = Mapping[str, Mapping[int, Sequence[str]]]


def detail_of(path: pathlib.Path) -> pathlib.Path:
  """Where the script puts the second file."""
  return pathlib.Path(str(path).replace(".txt", "_detail.txt"))


def read_scores(path: pathlib.Path) -> Scores:
  """Reads the first file.

  Raises:
    ValueError: no such file, or lines of another kind.
  """
  means: dict[str, float] = {}
  lines = _lines(path)
  while lines and not lines[0].startswith(_PRINTED):
    line = lines.pop(0)
    found = _SCORES.fullmatch(line)
    if found is None:
      raise ValueError(
        f"{path}: got {line!r}, expected a path, its scores and their mean, as"
        " compute_dpg_bench.py writes them"
      )
    means[item_of(found["path"])] = float(found["scores"].split(", ")[-1])
  printed: dict[str, float] = {}
  for line in lines:
    if found := _CATEGORY.fullmatch(line):
      # A category that is broad and detailed has one number twice.
      printed.setdefault(found["name"], float(found["value"]))
  return Scores(means, printed)


def read_detail(path: pathlib.Path) -> Said:
  """Reads the second file.

  Raises:
    ValueError: no such file, or lines of another kind.
  """
  entries: list[str] = []
  for line in _lines(path):
    if _ANSWER.fullmatch(line):
      entries.append(line)
    elif entries:  # a question or an answer of several lines
      entries[-1] += f"\n{line}"
    else:
      raise ValueError(
        f"{path}: got {line!r}, expected a path, a box, a question and an"
        " answer, as compute_dpg_bench.py writes them"
      )
  said: dict[str, dict[int, list[str]]] = {}
  for entry in entries:
    found = _ANSWER.fullmatch(entry)
    number = (int(found["left"]) > 0) + 2 * (int(found["top"]) > 0)
    of_item = said.setdefault(item_of(found["path"]), {})
    of_item.setdefault(number, []).append(found["said"])
  return said


def answers(
  said: Sequence[str], asked: Mapping[int, questions.Question]
) -> dict[int, bool]:
  """Yes or no by question, of one crop.

  Args:
    said: "question, answer", in the order of asking; perhaps broken off.
    asked: the item's questions as the script reads them.

  Raises:
    ValueError: other questions, or more.
  """
  if len(said) > len(asked):
    raise ValueError(f"got {len(said)} answers, expected {len(asked)} or fewer")
  found = {}
  for text, (number, question) in zip(said, asked.items()):
    if not text.startswith(f"{question.text}, "):
      raise ValueError(f"got {text!r}, expected {question.text!r}, an answer")
    found[number] = text[len(question.text) + 2 :] == _YES
  return found


def item_of(path: str) -> str:
  """The item whose picture it is."""
  return path.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]


def _lines(path: pathlib.Path) -> list[str]:
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path}: cannot be read ({error}); expected what compute_dpg_bench.py"
      " wrote"
    ) from error
  # Not splitlines: a prompt's odd separators are no ends of lines.
  return text.removesuffix("\n").split("\n") if text else []
