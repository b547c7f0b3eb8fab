"""Items that gave no record: kept, counted by reason, and capped.

What a filter of the source takes out was asked for: it is counted, but not
held against the cap.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable
from collections.abc import Mapping

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.features import tokens as tokens_lib

FILENAME = "rejects.jsonl"
# Reason of samples that the tokenizer or the encoders cannot take.
NOT_ENCODABLE = "cannot be encoded"
_FILTERED = "filtered"


class RejectedError(ValueError):
  """More rejected items than the config allows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reject:
  """One line of rejects.jsonl."""

  index: int  # of the item in the source
  key: str
  source: str
  reason: str  # without particulars, to be counted
  detail: str


def of_item(index: int, item: base.Rejected) -> Reject:
  """What the source rejected."""
  return Reject(index=index, **dataclasses.asdict(item))


def of_error(
  index: int, sample: sample_lib.Sample, error: tokens_lib.SampleError
) -> Reject:
  """A sample that cannot be encoded."""
  return Reject(
    index=index,
    key=sample.key,
    source=sample.source,
    reason=NOT_ENCODABLE,
    detail=str(error),
  )


def count(rejects: Iterable[Reject]) -> dict[str, int]:
  """How many there are of each reason, in order of the reasons' names."""
  counts = collections.Counter(reject.reason for reject in rejects)
  return dict(sorted(counts.items()))


def lines(rejects: Iterable[Reject]) -> str:
  """rejects.jsonl."""
  return "".join(
    json.dumps(dataclasses.asdict(reject)) + "\n" for reject in rejects
  )


def table(counts: Mapping[str, int], examples: Mapping[str, str]) -> str:
  """Counts by reason, most frequent first, with an example of each."""
  rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
  width = max(map(len, counts), default=0)
  return "\n".join(
    f"{number:9}  {reason:{width}}  {examples.get(reason, '')}".rstrip()
    for reason, number in rows
  )


class Cap:
  """Counts what a worker read and what was rejected of it.

  Args:
    number: Rejected items that are always allowed.
    fraction: Of the items read, how many more are allowed.
  """

  def __init__(self, number: int, fraction: float):
    self._number = number
    self._fraction = fraction
    self._read = 0
    self._counts = collections.Counter()
    self._examples: dict[str, str] = {}

  def add_read(self, items: int = 1) -> None:
    """Notes that items were read."""
    self._read += items

  def add(self, reject: Reject) -> None:
    """Notes that one of the items read was rejected.

    Raises:
      RejectedError: too many were.
    """
    self._counts[reject.reason] += 1
    detail = f": {reject.detail}" if reject.detail else ""
    self._examples[reject.reason] = f"{reject.source} {reject.key}{detail}"
    held = sum(
      n for r, n in self._counts.items() if not r.startswith(_FILTERED)
    )
    if held > self._number + self._fraction * self._read:
      raise RejectedError(
        f"got {held} rejected items of {self._read} read, expected at most"
        f" {self._number} and {self._fraction:.2%} of what was read"
        f" (max_rejected, max_rejected_fraction):\n"
        f"{table(self._counts, self._examples)}\n"
        "Mend the data or the source's options, or raise one of the two keys"
        f" in config.writer. What a {_FILTERED!r} reason took out is not held"
        " against them."
      )
