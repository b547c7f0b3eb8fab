"""What a benchmark is: pictures that are wanted, and numbers made of them.

One module a benchmark implements `Benchmark`; `evaluate.py` makes the pictures
with a model, lets the benchmark finish the folder as its official scorer wants
it, and has it scored here where that is possible. One that asks a model about
pictures too has `asked` (`AsksTexts`).
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol
from typing import runtime_checkable

from unialign_jax.evals.judge import judge as judge_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
  """One picture that a model is to make.

  Attributes:
    path: of the PNG, relative to the folder of results, as the official
      scorer looks for it.
    text: prompt or instruction.
    images: condition images: paths, or the bytes of files that a data set has
      inside its own files.
    seed: of its noise.
    group: what the times of making it are summed up by.
    guidance: where the benchmark fixes one; None for the model's own.
    steps: of the sampler, likewise.
    framing: how condition images become squares ("squash", ...), likewise.
    negative: what guidance leads away from.
  """

  path: str
  text: str
  images: tuple[pathlib.Path | bytes, ...] = ()
  seed: int
  group: str
  guidance: float | None = None
  steps: int | None = None
  framing: str | None = None
  negative: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """One text that a model is to write about a picture.

  Attributes:
    key: its name, unique in the benchmark.
    picture: a path, or the bytes of a file.
    question: "" for a caption.
    seed: of the sampler.
    group: what the times of writing it are summed up by.
  """

  key: str
  picture: pathlib.Path | bytes
  question: str = ""
  seed: int
  group: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """One number of a table.

  Attributes:
    group: its row, e.g. "T2I_Long", or "Overall".
    metric: its column, e.g. "IC".
    value: None where nothing could be scored.
    low, high: bootstrap interval (95 %), where samples are known.
    scored: samples in it.
    expected: samples that should be.
  """

  group: str
  metric: str
  value: float | None
  low: float | None = None
  high: float | None = None
  scored: int
  expected: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """What `score` found; written to `results.json`.

  Attributes:
    benchmark: its name.
    protocol: which of several ways of scoring, e.g. "release".
    official: whether these are the official scorer's numbers.
    scorer: what made them: a judge, a detector, the official raw files.
    scores: in the order of the table.
    notes: what a reader must know to trust them, one sentence each.
  """

  benchmark: str
  protocol: str
  official: bool
  scorer: str
  scores: Sequence[Score]
  notes: Sequence[str] = ()


class Benchmark(Protocol):
  """The interface of a benchmark's module or object.

  Attributes:
    name: of it.
    known_protocols: ways of scoring; the first is that of `results.json`.
    hub_files: patterns of what is fetched where --data is a data set of the
      Hugging Face hub; none where its official files are not there.
  """

  name: str
  known_protocols: Sequence[str]
  hub_files: Sequence[str]

  def check(
    self,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    has_judge: bool,
  ) -> None:
    """Refuses what could not be scored, before anything is made.

    Args:
      data: the official files (or folder), from --data.
      settings: of this benchmark, from --set NAME=VALUE.
      has_judge: whether `score` will get one.

    Raises:
      ValueError: nobody to score it, or more than one, or files that are
        missing for it.
    """
    ...

  def wanted(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[Wanted]:
    """The pictures, in order.

    Args:
      data: the official files (or folder), from --data.
      settings: of this benchmark, from --set NAME=VALUE.

    Raises:
      ValueError: files that are missing or not what they should be.
    """
    ...

  def finish(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ) -> None:
    """Adds what the official scorer reads beside the pictures."""
    ...

  def score(
    self,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
    judge: judge_lib.Judge | None,
  ) -> Result:
    """Scores the folder; resumes a scoring that was cut off."""
    ...


@runtime_checkable
class AsksTexts(Protocol):
  """What a benchmark of texts has beside `Benchmark`."""

  def asked(
    self, data: pathlib.Path | None, settings: Mapping[str, Any]
  ) -> list[Asked]:
    """The texts, in order; `texts.read` has what was written.

    Raises:
      ValueError: as `wanted`.
    """
    ...
