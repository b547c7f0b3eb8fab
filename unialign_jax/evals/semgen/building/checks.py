"""What a machine can tell of a prompt; pure functions of texts.

The paper's constraints: long prompts of more than 200 tokens; semantic ones
with count, color, relation, background and reasoning; three parallel
instructions; a change of an attribute that takes reasoning. A model that
writes a prompt also says which of its words are the count, the color and so
on; here those words are looked for and looked at. Whether the reasoning is
any, a person has to say (`review`).
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.features.captioning import length

MIN_LONG_TOKENS = 201
ASPECTS = ("count", "color", "relation", "background", "reasoning")
INSTRUCTIONS = 3
_MOST_EDIT_WORDS = 40
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_META = re.compile(
  r"\b(?:image|photo|photograph|picture|caption|prompt|instruction)s?\b", re.I
)
_NUMBER = re.compile(
  r"\b(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
  r"|dozen|single|pair|couple|both|several|no)\b",
  re.I,
)
_COLOR = re.compile(
  r"(?:red|orange|yellow|green|blue|purple|violet|pink|brown|black|white"
  r"|gr[ae]y|beige|gold|silver|tan|teal|turquoise|cyan|magenta|maroon|navy"
  r"|cream|ivory|crimson|scarlet|bronze|copper|khaki|lavender|olive|amber"
  r"|burgundy|charcoal|blond|golden|dark|pale|colou?r)",
  re.I,
)
_RELATION = re.compile(
  r"\b(?:left|right|above|below|under|beneath|underneath|over|on|in|inside"
  r"|outside|behind|before|beside|besides|between|among|near|next|against"
  r"|across|around|along|through|towards?|front|top|bottom|middle|center"
  r"|centre|corner|edge|by|at|beyond|facing|opposite|within|amid|atop|past)\b",
  re.I,
)
# An instruction that leans on another one is not parallel to it.
_LEANS = re.compile(
  r"^(?:then|next|after that|afterwards|finally|also|and|now|lastly|second"
  r"|third|first)\b"
  r"|\b(?:the previous|the former|the latter|step \d)\b",
  re.I,
)
Tokens = Callable[[str], int]


def words_and_marks(text: str) -> int:
  """Tokens where no tokenizer is named: words, and punctuation marks."""
  return len(_WORD.findall(text))


def long_prompt(text: str, tokens: Tokens = words_and_marks) -> list[str]:
  """What is wrong with a text for T2I_Long, if anything."""
  problems = _description(text)
  count = tokens(text)
  if count < MIN_LONG_TOKENS:
    problems.append(f"got {count} tokens, expected more than 200")
  return problems


def semantic_prompt(text: str, aspects: Mapping[str, Any]) -> list[str]:
  """What is wrong with a text for T2I_Sem, if anything.

  Args:
    text: the prompt.
    aspects: words of it by `ASPECTS`.
  """
  problems = _description(text)
  quotes = {name: aspects.get(name) for name in ASPECTS}
  for name, quote in quotes.items():
    if not isinstance(quote, str) or not quote.strip():
      problems.append(f"{name}: got no words of the prompt")
    elif _plain(quote) not in _plain(text):
      problems.append(f"{name}: {quote!r} is not in the prompt")
    elif name in _LOOKS and not _LOOKS[name].search(quote):
      problems.append(f"{name}: {quote!r} has none")
  given = [_plain(q) for q in quotes.values() if isinstance(q, str)]
  if len(set(given)) < len(given):
    problems.append("got the same words for two aspects")
  return problems


_LOOKS = {"count": _NUMBER, "color": _COLOR, "relation": _RELATION}


def parallel_instructions(instructions: Sequence[Any]) -> list[str]:
  """What is wrong with three instructions for Edit_Multi, if anything."""
  if len(instructions) != INSTRUCTIONS:
    return [f"got {len(instructions)} instructions, expected {INSTRUCTIONS}"]
  problems = []
  for number, one in enumerate(instructions, start=1):
    found = _instruction(one)
    if isinstance(one, str) and _LEANS.search(one.strip()):
      found.append("leans on another instruction")
    problems += [f"instruction {number}: {problem}" for problem in found]
  texts = [_plain(one) for one in instructions if isinstance(one, str)]
  if len(set(texts)) < len(texts):
    problems.append("got an instruction twice")
  return problems


def semantic_instruction(
  text: Any, attribute: Any, reasoning: Any
) -> list[str]:
  """What is wrong with an instruction for Edit_Sem, if anything.

  Args:
    text: the instruction.
    attribute: what it changes, e.g. "color".
    reasoning: what one has to work out to follow it.
  """
  problems = _instruction(text)
  if not isinstance(attribute, str) or not attribute.strip():
    problems.append("attribute: got none")
  if not isinstance(reasoning, str) or words_and_marks(reasoning) < 5:
    problems.append("reasoning: got less than five words")
  elif isinstance(text, str) and _plain(reasoning) == _plain(text):
    problems.append("reasoning: got the instruction again")
  return problems


def _description(text: str) -> list[str]:
  problems = _common(text)
  start = text.strip()[:60]
  if _META.search(start):
    problems.append(f"begins with words about a picture: {start!r}")
  return problems


def _instruction(text: Any) -> list[str]:
  if not isinstance(text, str) or not text.strip():
    return ["got no text"]
  problems = _common(text)
  if sum(1 for _ in length.sentence_ends(text.strip())) != 1:
    problems.append("got other than one full sentence")
  count = len(text.split())
  if not 3 <= count <= _MOST_EDIT_WORDS:
    problems.append(f"got {count} words, expected 3 to {_MOST_EDIT_WORDS}")
  if text.strip().endswith("?"):
    problems.append("got a question")
  return problems


def _common(text: str) -> list[str]:
  problems = []
  if "\n" in text.strip():
    problems.append("got line breaks")
  letters = [c for c in text if c.isalpha()]
  if not letters or sum(c.isascii() for c in letters) < 0.95 * len(letters):
    problems.append("got other than English letters")
  if re.search(r"```|[*_#]{2,}|[{}<>]", text):
    problems.append("got markup")
  return problems


def _plain(text: str) -> str:
  """For comparison: lower case, words and marks with single spaces."""
  return " ".join(_WORD.findall(text.lower()))
