"""LLaVA-OneVision-Data: questions about pictures, in parquet.

One folder a config, e.g. `ai2d(cauldron,llava_format)/train-*.parquet`, with
the columns `image` (null where a config is text alone), `conversations`
(structs `from`, `value`) and `id`, `data_source`, which are not used. Configs
that are JSON and archives instead of parquet are not read.

A conversation gives one sample a question, with the answer that follows it.
A later question may lean on what was said before; the data set does not mark
those. Text alone is rejected as "null image", also one sample a question.
"""

import bisect
import itertools
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import rejection

NAME = "llava_onevision"
LICENSE = "apache-2.0"
_COLUMNS = ("image", "conversations")
_IMAGE_TAG = "<image>"
_CONFIG = "config"


def open_source(
  root: str | os.PathLike,
  *,
  configs: str | Sequence[str] = (),
  max_question_words: int = 0,
) -> base.Source:
  """Opens some of the configs.

  Args:
    root: The folder that holds the configs' folders, or one config's folder.
    configs: Names of folders; none: all.
    max_question_words: Longer questions are rejected; 0: none is.

  Raises:
    SourceError: no files or rows, missing columns, or an unknown config.
  """
  paths = parquet.find(root, "**/train-*.parquet")
  names = [_config(path) for path in paths]
  chosen = parquet_source.pick(names, configs, f"{NAME} configs")
  table = _Table([paths[i] for i in chosen])
  rows, parts = table.questions()
  return parquet_source.ParquetSource(
    table, _Questions(max_question_words), rows, parts
  )


class _Table:
  """The rows of all configs in one, each with the name of its config."""

  def __init__(self, paths: Sequence[epath.Path]):
    self._rows = parquet.Rows(paths, _COLUMNS)
    self._configs = [_config(path) for path in paths]
    # One file at a time: the conversations of all would not fit in memory.
    self._questions = [_questions(path) for path in paths]
    sizes = [len(counts) for counts in self._questions]
    self._starts = [0, *itertools.accumulate(sizes)]

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    return self._rows[index] | {_CONFIG: self._config(index)}

  def name(self, index: int) -> str:
    """ "config/file-stem/row", whichever configs are opened."""
    stem, row = self._rows.name(index).rsplit("/", 2)[-2:]
    return f"{self._config(index)}/{stem}/{row}"

  def questions(self) -> tuple[np.ndarray, np.ndarray]:
    """Row, and number within the row, of every question."""
    counts = np.concatenate(self._questions)
    rows = np.repeat(np.arange(len(counts)), counts)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.arange(len(rows)) - firsts

  def _config(self, index: int) -> str:
    return self._configs[bisect.bisect_right(self._starts, index) - 1]


class _Questions:
  """One question of a conversation.

  Args:
    max_words: Longer questions are rejected; 0: none is.
  """

  def __init__(self, max_words: int):
    self._max_words = max_words

  def source(self, fields: Mapping[str, Any]) -> str:
    return f"{NAME}/{fields[_CONFIG]}"

  def build(self, row: parquet_source.Row) -> base.Raw:
    picture = row.picture("image")
    question, answer = _turn(row.fields["conversations"], row.part)
    words = len(question.split())
    if self._max_words and words > self._max_words:
      raise rejection.Rejection(
        "filtered: max_question_words",
        f"got {words}, expected at most {self._max_words}",
      )
    return base.Raw(
      key=row.key,
      task="understanding",
      source=row.source,
      license=LICENSE,
      caption_source="dataset",
      target=picture,
      instruction=question,
      caption=answer,
      question=question,
    )


def _config(path: epath.Path) -> str:
  """The folder of a file; that of "." too."""
  return path.parent.name or path.absolute().parent.name


def _questions(path: epath.Path) -> np.ndarray:
  """How many questions each row has; a row that has none counts as one."""
  conversations = parquet.Rows([path], _COLUMNS).column("conversations")
  # Rounded up: a question without an answer is rejected, not left out.
  return np.array([max(1, (len(c or ()) + 1) // 2) for c in conversations], int)


def _turn(
  conversation: Sequence[Mapping[str, str]] | None, number: int
) -> tuple[str, str]:
  """Question and answer of a turn.

  Raises:
    Rejection: one of them is empty, or not where it belongs.
  """
  turn = (conversation or [])[2 * number : 2 * number + 2]
  roles = [message["from"] for message in turn]
  if roles != ["human", "gpt"]:
    raise rejection.Rejection(
      "broken conversation",
      f"turn {number}: got {roles}, expected ['human', 'gpt']",
    )
  question, answer = (
    (message["value"] or "").replace(_IMAGE_TAG, "") for message in turn
  )
  return (
    parquet_source.text(question),
    parquet_source.text(answer, "empty caption"),
  )
