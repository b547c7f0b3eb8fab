"""The rows and columns of the Shapes benchmark's table."""

import re

from unialign_jax.shapes import edits
from unialign_jax.shapes import geneval
from unialign_jax.shapes import scores

# The column that all rows have; what it is stands in the row's name where it
# is no share of right ones.
SCORE = "score"
DONE, KEPT = "done", "kept"
SCENE = "whole scene"
ERROR = "error (0 is best)"
CONSTANT = "one answer for all"
CAPTIONS = "captions (attribute F1)"
OVERALL = "{ability}: overall"

# Row -> what `kind` says of it.
_ROWS = {
  "generation": {f"T2I: {tag}": tag for tag in geneval.TAGS},
  "editing": {f"edit: {kind}": kind for kind in edits.KINDS},
  "perception": {
    "canny (F1)": "canny",
    "depth (accuracy)": "depth",
    "pose (PCK@0.1)": "pose",
  },
  "personalisation": {
    "one subject": "personalise",
    "two subjects": "personalise_multi",
  },
  "understanding": {
    CAPTIONS: "",
    **{f"answer: {kind}": kind for kind in scores.QUESTION_KINDS},
  },
}
ABILITIES = tuple(_ROWS)
_KINDS = {row: kind for rows in _ROWS.values() for row, kind in rows.items()}
# Of the random generators: a row that is added goes to the end, or all after
# it become other samples.
NUMBER = {row: number for number, row in enumerate(_KINDS)}


def of(ability: str) -> tuple[str, ...]:
  """The rows of an ability, in order."""
  return tuple(_ROWS[ability])


def kind(row: str) -> str:
  """What a row is of: a tag, a kind of edit, of map, a task, a question."""
  return _KINDS[row]


def slug(row: str) -> str:
  """A row's name as a folder's."""
  return re.sub(r"[^a-z0-9]+", "_", row.lower()).strip("_")


def same_words(text: str, other: str) -> bool:
  """Whether two texts have the same words in the same order."""
  return _words(text) == _words(other)


def _words(text: str) -> list[str]:
  return re.findall(r"\w+", text.lower())
