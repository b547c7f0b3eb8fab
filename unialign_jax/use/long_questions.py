"""Questions that are too long: question and answer share the L tokens.

What a benchmark asks ends in its options and in how to answer, so a question
that does not fit loses its beginning, whole words at a time.
"""

import bisect
import dataclasses
import re

from unialign_jax.features import tokens
from unialign_jax.use import texts as texts_lib

_SHARE = 4  # of the tokens one in so many is kept for an answer


class TooLong(ValueError):
  """A question that leaves too little room for an answer."""


@dataclasses.dataclass(frozen=True)
class Fitted:
  """A question that fits.

  Attributes:
    question: what is left of it.
    cut: its beginning that was cut off; "" if nothing was.
  """

  question: str
  cut: str = ""


def default_room(length: int) -> int:
  """Tokens for an answer where nobody says how many; `length` is L."""
  return max(length // _SHARE, 1)


def fitted(
  texts: texts_lib.Texts, question: str, *, room: int, may_cut: bool
) -> Fitted:
  """The question, cut where it is too long and may be.

  Args:
    texts: of the model.
    question: "" asks for a caption and always fits.
    room: tokens that an answer shall have, EOS not counted.
    may_cut: whether a long question is cut or refused.

  Raises:
    TooLong: it does not fit and may not be cut, or is one long word.
    ValueError: it has a token that stands for an end or for what is to be
      written.
  """
  texts.check(question)
  if texts.ends_within(question):
    raise ValueError(
      "question: got the token that ends a text in it, expected clean text, as"
      " nothing after it would be read; remove it."
    )
  # The last place is EOS in every text.
  most = texts.length - 1 - room

  def tokens_of(text: str) -> int:
    return texts.count(tokens.QUESTION_FORMAT.format(text))

  if not question or tokens_of(question) <= most:
    return Fitted(question)
  if not may_cut:
    raise TooLong(
      f"question: got one of {tokens_of(question)} tokens with its frame,"
      f" expected at most {most}, as question and answer share {texts.length}"
      f" tokens and {room} are kept for the answer; shorten it, or have its"
      " beginning cut off."
    )
  starts = [word.start() for word in re.finditer(r"\S+", question)]
  first = bisect.bisect_left(
    starts, True, key=lambda start: tokens_of(question[start:]) <= most
  )
  if first == len(starts):
    raise TooLong(
      f"question: got one whose last word does not fit into {most} tokens,"
      " expected words; shorten it."
    )
  return Fitted(question[starts[first] :], question[: starts[first]])
