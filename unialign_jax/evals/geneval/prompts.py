"""GenEval's prompts: a line of JSON each, checked before anything is made.

Ghosh et al., 2023 (arXiv 2310.11513): `evaluation_metadata.jsonl`, 553 lines.
The long variant has the same demands under prompts that a language model has
rewritten.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import jsonl

# Prompts of each task in the official file, in its order.
COUNTS = {
  "single_object": 80,
  "two_object": 99,
  "counting": 80,
  "colors": 94,
  "position": 100,
  "color_attr": 100,
}
COLORS = (
  *("red", "orange", "yellow", "green", "blue"),
  *("purple", "pink", "brown", "black", "white"),
)
RELATIONS = ("left of", "right of", "above", "below")
FILES = {
  "short": "evaluation_metadata.jsonl",
  "long": "evaluation_metadata_long.jsonl",
}
_FIELDS = {"tag", "prompt", "include", "exclude"}
_CLAUSE_FIELDS = {"class", "count", "color", "position"}
_MOST_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Prompt:
  """One line of the file; its number is the name of its folder.

  Attributes:
    index: of the line, from 0.
    metadata: the line as it is.
  """

  index: int
  metadata: Mapping[str, Any]

  @property
  def tag(self) -> str:
    return self.metadata["tag"]

  @property
  def text(self) -> str:
    return self.metadata["prompt"]


def read(
  data: pathlib.Path | None, variant: str, partial: bool
) -> list[Prompt]:
  """The prompts, in order.

  Args:
    data: the file, or the folder that it is in.
    variant: which file of a folder, a key of `FILES`.
    partial: whether a file with another number of prompts will do.

  Raises:
    ValueError: no such file; every line that is no prompt of GenEval; numbers
      of prompts that are not the official ones.
  """
  path = _file(data, variant)
  lines = jsonl.Lines(path)
  found, problems = [], []
  for index in range(len(lines)):
    try:
      metadata = lines[index]
    except ValueError as error:
      problems.append(str(error))
      continue
    problems += [
      f"line {lines.number(index)}: {text}" for text in _problems(metadata)
    ]
    found.append(Prompt(index, metadata))
  if problems:
    shown = "\n  ".join(problems[:_MOST_PROBLEMS])
    raise ValueError(
      f"{path}: {len(problems)} lines or fields are not GenEval's; get the file"
      f" again, or correct it:\n  {shown}"
    )
  counts = collections.Counter(prompt.tag for prompt in found)
  if counts != COUNTS and not partial:
    raise ValueError(
      f"{path}: got {len(found)} prompts, {dict(counts)}; expected"
      f" {sum(COUNTS.values())}, {COUNTS}. Get the whole file; --set"
      " partial=true takes a part of it."
    )
  return found


def _file(data: pathlib.Path | None, variant: str) -> pathlib.Path:
  if variant not in FILES:
    raise ValueError(f"--set prompts={variant}: expected one of {list(FILES)}.")
  if data is None:
    raise ValueError(
      "--data: got none, expected GenEval's file of prompts or its folder"
      " (prompts/ in the official repository)."
    )
  if not data.is_dir():
    return data
  for folder in (data, data / "prompts"):
    if (folder / FILES[variant]).is_file():
      return folder / FILES[variant]
  raise ValueError(
    f"--data={data}: got no {FILES[variant]} in it; give the folder that it is"
    " in, or the file."
  )


def _problems(metadata: Mapping[str, Any]) -> list[str]:
  """What keeps a line from being a prompt."""
  problems = []
  if unknown := sorted(set(metadata) - _FIELDS):
    problems.append(f"got fields {unknown}, expected {sorted(_FIELDS)}")
  if metadata.get("tag") not in COUNTS:
    problems.append(
      f"tag: got {metadata.get('tag')!r}, expected one of {list(COUNTS)}"
    )
  text = metadata.get("prompt")
  if not isinstance(text, str) or not text.strip():
    problems.append(f"prompt: got {text!r}, expected a text")
  include = metadata.get("include")
  if not isinstance(include, list) or not include:
    return [*problems, f"include: got {include!r}, expected clauses"]
  for number, clause in enumerate(include):
    problems += _clause_problems(f"include {number}", clause, number)
  for number, clause in enumerate(metadata.get("exclude") or ()):
    problems += _clause_problems(f"exclude {number}", clause, 0)
  return problems


def _clause_problems(where: str, clause: Any, before: int) -> list[str]:
  """Of one clause; a position may point at one of the `before` it."""
  if not isinstance(clause, dict) or set(clause) - _CLAUSE_FIELDS:
    return [f"{where}: got {clause!r}, expected {sorted(_CLAUSE_FIELDS)}"]
  problems = []
  if not isinstance(clause.get("class"), str):
    problems.append(f"{where}: class: got {clause.get('class')!r}")
  count = clause.get("count")
  if type(count) is not int or count < 1:
    problems.append(f"{where}: count: got {count!r}, expected at least 1")
  if "color" in clause and clause["color"] not in COLORS:
    problems.append(f"{where}: color: got {clause['color']!r}")
  if "position" in clause and not _is_position(clause["position"], before):
    problems.append(
      f"{where}: position: got {clause['position']!r}, expected one of"
      f" {RELATIONS} and the number of an earlier clause"
    )
  return problems


def _is_position(position: Any, before: int) -> bool:
  if not isinstance(position, Sequence) or len(position) != 2:
    return False
  relation, target = position
  return relation in RELATIONS and target in range(before)
