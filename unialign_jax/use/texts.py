"""Texts to token ids and features: what does not fit is said, none twice."""

import collections
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from unialign_jax.features import encoders as encoders_lib
from unialign_jax.features import null_prompt

# Of T5-XXL at 256 tokens in bfloat16, 2.1 MB each.
_MOST_REMEMBERED = 256


class TruncationWarning(UserWarning):
  """A text was longer than the model reads; the message has what was cut."""


class Texts:
  """Features of prompts, the last `_MOST_REMEMBERED` of them remembered.

  Args:
    encoder: its tokenizer.
    length: L, tokens of a text.
    encode: ids [B, L] -> features [B, L, E], for any B.
  """

  def __init__(
    self,
    encoder: encoders_lib.TextEncoder,
    length: int,
    encode: Callable[[np.ndarray], np.ndarray],
  ):
    self._encoder = encoder
    self._length = length
    self._encode = encode
    self._known: collections.OrderedDict[str, np.ndarray] = (
      collections.OrderedDict()
    )

  def features(self, texts: Sequence[str]) -> np.ndarray:
    """Features [B, L, E]; "" has those of a dropped prompt.

    Raises:
      ValueError: a text with the mask token in it.
    """
    texts = [text or null_prompt.TEXT for text in texts]
    wanted = dict.fromkeys(texts)
    new = [text for text in wanted if text not in self._known]
    found = {text: self._known[text] for text in wanted if text not in new}
    if new:
      found |= zip(new, self._encode(self.tokenise(new)))
    for text, features in found.items():
      self._known[text] = features
      self._known.move_to_end(text)
    while len(self._known) > _MOST_REMEMBERED:
      self._known.popitem(last=False)
    return np.stack([found[text] for text in texts])

  def tokenise(self, texts: Sequence[str]) -> np.ndarray:
    """Ids [B, L]; warns of each text that is cut.

    Raises:
      ValueError: a text with the mask token in it.
    """
    for text in texts:
      if self._encoder.mask_id in self._encoder.tokenizer(text)["input_ids"]:
        raise ValueError(
          f"text: got {encoders_lib.MASK_TOKEN} in {text!r}, expected clean"
          " text, as it stands for what is to be written; remove it."
        )
      if message := self.truncation(text):
        warnings.warn(message, TruncationWarning, stacklevel=2)
    return self._encoder.tokenise(texts, self._length)

  def truncation(self, text: str) -> str:
    """What of a text the model does not read, in words; "" if it fits."""
    ids = self._encoder.tokenizer(text)["input_ids"]
    if len(ids) <= self._length:
      return ""
    cut = self._encoder.tokenizer.decode(ids[self._length - 1 : -1])
    return (
      f"the text {_short(text)!r} has {len(ids)} tokens and the model reads"
      f" {self._length}; cut: {cut!r}"
    )


def _short(text: str) -> str:
  return text if len(text) <= 40 else f"{text[:37]}..."
