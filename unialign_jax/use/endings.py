"""Where an answer ends: at its EOS, a limit of tokens, or a text that stops it.

The network writes all of a text at once; what a caller does not want of it is
cut off afterwards.
"""

import dataclasses
from collections.abc import Sequence

from unialign_jax.use import requests
from unialign_jax.use import texts as texts_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
  """An answer as a caller gets it.

  Attributes:
    text: the answer.
    num_tokens: that it was made of.
    is_complete: False where a limit of tokens cut it off.
  """

  text: str
  num_tokens: int
  is_complete: bool


def ended(
  texts: texts_lib.Texts,
  written: requests.Written,
  *,
  most: int | None = None,
  stops: Sequence[str] = (),
) -> Ended:
  """The answer up to the first of its ends.

  Args:
    texts: of the model.
    written: what it wrote.
    most: tokens of the answer; None for no limit but the room.
    stops: texts before the first of which it ends.
  """
  is_cut = most is not None and len(written.ids) > most
  ids = written.ids[:most] if is_cut else written.ids
  text = texts.decode(ids) if is_cut else written.text
  found = [where for stop in stops if (where := text.find(stop)) >= 0]
  if found:
    return Ended(
      text=text[: min(found)].strip(), num_tokens=len(ids), is_complete=True
    )
  is_complete = written.is_complete and not is_cut
  return Ended(text=text, num_tokens=len(ids), is_complete=is_complete)
