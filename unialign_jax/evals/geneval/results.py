"""GenEval's file of results: a line of JSON a picture."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from unialign_jax import strict_json
from unialign_jax.data.sources import jsonl
from unialign_jax.evals.geneval import prompts

FIELDS = ("filename", "tag", "prompt", "correct", "reason", "metadata")
_NAME = re.compile(r"(?:^|/)(\d+)/samples/(\d+)\.png$")
_MOST_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Row:
  """One picture's verdict.

  Attributes:
    index: of the prompt: the name of its folder.
    number: of the sample: the name of its file.
    fields: of the line, `FIELDS` and perhaps more.
  """

  index: int
  number: int
  fields: Mapping[str, Any]

  @property
  def picture(self) -> tuple[int, int]:
    return self.index, self.number

  @property
  def tag(self) -> str:
    return self.fields["tag"]

  @property
  def correct(self) -> bool:
    return bool(self.fields["correct"])

  @property
  def metadata(self) -> Mapping[str, Any]:
    return strict_json.row(self.fields["metadata"])


def read(path: pathlib.Path) -> list[Row]:
  """The rows of the official evaluate_images.py, or of `scoring`.

  Raises:
    ValueError: no such file; every line that is no result.
  """
  lines = jsonl.Lines(path)
  rows, problems = [], []
  for number in range(len(lines)):
    try:
      rows.append(row(lines[number]))
    except ValueError as error:
      problems.append(f"line {lines.number(number)}: {error}")
  if problems:
    shown = "\n  ".join(problems[:_MOST_PROBLEMS])
    raise ValueError(
      f"{path}: {len(problems)} lines are no results of GenEval's"
      f" evaluate_images.py:\n  {shown}"
    )
  return rows


def row(fields: Mapping[str, Any]) -> Row:
  """A line as a row.

  Raises:
    ValueError: fields are missing or no verdict's, or the file is not in a
      prompt's folder.
  """
  if missing := sorted(set(FIELDS) - set(fields)):
    raise ValueError(f"got {sorted(fields)}, expected {missing} too")
  place = _NAME.search(str(fields["filename"]))
  if place is None:
    raise ValueError(
      f"filename: got {fields['filename']!r}, expected the number of the"
      " prompt, /samples/, the number of the sample, .png"
    )
  if not isinstance(fields["correct"], bool):
    raise ValueError(f"correct: got {fields['correct']!r}, expected a boolean")
  if fields["tag"] not in prompts.COUNTS:
    raise ValueError(
      f"tag: got {fields['tag']!r}, expected one of {list(prompts.COUNTS)}"
    )
  metadata = strict_json.row(fields["metadata"])
  if not isinstance(metadata, dict):
    raise ValueError(f"metadata: got {metadata!r}, expected the prompt's line")
  return Row(int(place[1]), int(place[2]), fields)
