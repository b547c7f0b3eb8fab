"""Scores out of what a judge wrote, or the reason why there are none.

Nothing is guessed: a reply that leaves a doubt has no scores, and is asked for
again. What is read, beside the JSON object that is asked for:

  {"score": [7, 6]}   in a code fence, in prose, after thoughts
  {"score": 7}        where one number is wanted
  [7, 6]              alone or in prose; 7 alone
  "7", "7/10", 7.5    as numbers
  {"score": [7, 6], "reasoning": "a "quote""}  what stands behind the scores
                      may be broken, or cut off
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from unialign_jax.features.captioning import wording

_NAMES = ("score", "scores")
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*\s*(.*?)```", re.DOTALL)
# The scores of an object that is no JSON: the list must be whole.
_BROKEN = re.compile(r"""["']?\bscores?["']?\s*[:=]\s*(\[[^\[\]{}]*\])""", re.I)
_TEXT_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:/\s*(\d+))?\s*")
_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder()
_MOST_CHARACTERS = 20_000  # of a judgement; more is a model that has lost it


@dataclasses.dataclass(frozen=True)
class Unparsed:
  """Why a reply has no scores.

  Attributes:
    reason: one of a few, so that reasons can be counted: "empty", "too long",
      "refusal", "no scores", "wrong count", "not a number", "out of range",
      "ambiguous"; of `asking`, "no reply", "rejected" and "X in the parser".
    detail: the particulars.
  """

  reason: str
  detail: str = ""


Scores = tuple[float, ...]


def parse(
  reply: str, count: int, *, low: float = 0.0, high: float = 10.0
) -> Scores | Unparsed:
  """The scores in a reply.

  Args:
    reply: as the judge wrote it.
    count: how many are wanted.
    low: the least that a score may be.
    high: the most, which also is what "7/10" is out of.
  """
  text = without_thoughts(reply).strip()
  if not text:
    return Unparsed("empty")
  if len(text) > _MOST_CHARACTERS:
    return Unparsed("too long", f"{len(text)} characters")
  if wording.is_refusal(text):
    return Unparsed("refusal", text[:200])
  found = [
    _scores(candidate, count, low, high) for candidate in _candidates(text)
  ]
  if not found:
    return Unparsed("no scores", text[:200])
  if len(set(found)) > 1:
    return Unparsed("ambiguous", f"{len(found)} answers: {text[:200]}")
  return found[0]


def without_thoughts(reply: str) -> str:
  """What a reasoning model says once it has thought."""
  text = _THOUGHTS.sub("", reply)
  # Thoughts whose start was in the prompt; and such that never end.
  _, _, text = text.rpartition("</think>")
  return text.partition("<think>")[0]


def _candidates(text: str) -> list[Any]:
  """What is said to be the scores: named ones before bare ones."""
  values = list(_json_values(text))
  named = [
    value[name]
    for value in values
    if isinstance(value, dict)
    for name in value
    if name.lower() in _NAMES
  ]
  if named:
    return named
  broken = [_list_of(match.group(1)) for match in _BROKEN.finditer(text)]
  if broken:
    return broken
  lists = [value for value in values if isinstance(value, list)]
  if lists:
    return lists
  fenced = _FENCE.fullmatch(text)
  alone = fenced.group(1).strip() if fenced else text
  return [alone] if _TEXT_NUMBER.fullmatch(alone) else []


def _json_values(text: str) -> Iterator[Any]:
  """The objects and lists in a text that are whole JSON, outermost only."""
  start = 0
  while found := _OPENING.search(text, start):
    try:
      value, start = _DECODER.raw_decode(text, found.start())
      yield value
    except (ValueError, RecursionError):
      start = found.end()


def _list_of(text: str) -> list[str]:
  """The items of a list as text, with any kind of quotes."""
  inner = text[1:-1].strip().removesuffix(",")
  return [item.strip(" \t\r\n\"'") for item in inner.split(",")]


def _scores(
  value: Any, count: int, low: float, high: float
) -> Scores | Unparsed:
  items = value if isinstance(value, list) else [value]
  if len(items) != count:
    return Unparsed("wrong count", f"got {len(items)}, expected {count}")
  numbers = [_number(item, high) for item in items]
  if None in numbers:
    return Unparsed("not a number", f"got {items!r}"[:200])
  if not all(low <= number <= high for number in numbers):
    expected = f"{low:g} to {high:g}"
    return Unparsed("out of range", f"got {numbers}, expected {expected}")
  return tuple(numbers)


def _number(item: Any, high: float) -> float | None:
  if isinstance(item, str):
    found = _TEXT_NUMBER.fullmatch(item)
    if not found or (found.group(2) and float(found.group(2)) != high):
      return None
    return float(found.group(1))
  if isinstance(item, bool) or not isinstance(item, int | float):
    return None
  try:
    number = float(item)
  except OverflowError:  # a whole number of more than 308 digits
    return None
  return number if math.isfinite(number) else None
