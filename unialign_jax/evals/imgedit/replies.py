"""Scores in the format of ImgEdit-Bench: lines of a name and a number.

Brief reasoning: ...
Prompt Compliance: 4
Visual Seamlessness: 3
Physical & Detail Fidelity: 5
"""

import re

from unialign_jax.evals.judge import replies

COUNT = 3
_MOST_DIGITS = 300  # a float holds 308
LOW, HIGH = 1, 5
_LINE = re.compile(
  r"(?:[-*\u2022]\s+|\d+[.)]\s+)?"  # of a list
  r"[*_`\s]*(?P<name>[^\d:*_`][^:*_`]*?)[*_`\s]*[:=][*_`\s]*"
  r"(?P<number>\d+)(?:\s*/\s*(?P<most>\d+))?[*_`\s.]*"
)
_REASONING = re.compile(r"reason", re.IGNORECASE)


def parse(reply: str) -> replies.Scores | replies.Unparsed:
  """The three scores of a reply, in its order.

  Bold names, lists, "4/5", "4." and a missing space are read; the line of
  reasons is not one of scores, whatever number it ends in.
  """
  text = replies.without_thoughts(reply).strip()
  if not text:
    return replies.Unparsed("empty")
  found = [_LINE.fullmatch(line.strip()) for line in text.splitlines()]
  lines = [m for m in found if m and not _REASONING.search(m["name"])]
  if not lines:
    return replies.Unparsed("no scores", text[:200])
  if len(lines) != COUNT:
    got = [match[0] for match in lines]
    return replies.Unparsed("wrong count", f"got {got}, expected {COUNT}")
  numbers = tuple(float(match["number"]) for match in lines)
  scales = {match["most"] for match in lines} - {None, str(HIGH)}
  if scales or not all(LOW <= number <= HIGH for number in numbers):
    return replies.Unparsed("out of range", text[:200])
  return numbers


def as_released(reply: str) -> float | None:
  """What step1_get_avgscore.py makes of a reply; None: it leaves it out.

  A line counts if it is two parts around one ": ", the second all digits,
  however many lines there are and whatever they are called. Where the script
  ends in an error, by a digit like "²" or hundreds of them, the line does
  not count.
  """
  parts = [line.strip().split(": ") for line in reply.splitlines()]
  texts = [part[1] for part in parts if len(part) == 2]
  numbers = [
    int(text)
    for text in texts
    if text.isdecimal() and len(text) <= _MOST_DIGITS
  ]
  return round(sum(numbers) / len(numbers), 2) if numbers else None
