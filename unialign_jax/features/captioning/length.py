"""Cuts captions to the tokens that a record holds, at the end of a sentence."""

import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

Tokenizer = Callable[[str], Mapping[str, Sequence[int]]]

_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』）]*")
# A full stop after these, or after a single letter, ends no sentence.
_ABBREVIATIONS = frozenset(
  ("mr", "mrs", "ms", "dr", "st", "mt", "vs", "no", "approx", "e.g", "i.e")
)


class Limit:
  """Keeps texts within a number of tokens.

  Args:
    tokenizer: Called with a text, gives `input_ids` with the EOS in them.
    tokens: Most ids of a text, EOS included.
  """

  def __init__(self, tokenizer: Tokenizer, tokens: int):
    self._tokenizer = tokenizer
    self._tokens = tokens

  def fits(self, text: str) -> bool:
    """Whether all of a text is kept in a record."""
    return len(self._tokenizer(text)["input_ids"]) <= self._tokens

  def cut(self, text: str) -> str:
    """The longest run of full sentences from the start that fits, or ""."""
    kept = ""
    for end in sentence_ends(text):
      if not self.fits(text[:end]):
        break
      kept = text[:end]
    return kept


def sentence_ends(text: str) -> Iterator[int]:
  """Places just after each sentence of a text."""
  for found in _END.finditer(text):
    before = text[: found.start()]
    word = before.split()[-1].lstrip("\"'“‘([") if before.split() else ""
    stop = found.group() == "."
    if stop and (word.lower() in _ABBREVIATIONS or _is_initial(word)):
      continue
    yield found.end()


def _is_initial(word: str) -> bool:
  return len(word) == 1 and word.isalpha() and word not in ("I", "A", "a")


def load_tokenizer(name: str) -> Any:
  """The tokenizer in a folder or of a hub id.

  Raises:
    ValueError: it cannot be loaded, or does not end texts with EOS.
  """
  import transformers  # seconds to import

  try:
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"--tokenizer: got {name!r}, which cannot be loaded ({error}); expected"
      " a folder with tokenizer.json or a hub id, that of the text encoder"
    ) from error
  ids = tokenizer("a")["input_ids"]
  if not ids or ids[-1] != tokenizer.eos_token_id:
    raise ValueError(
      f"--tokenizer: got {name!r}, which does not end a text with EOS,"
      " expected the tokenizer of a T5 text encoder"
    )
  return tokenizer
