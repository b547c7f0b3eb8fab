"""Texts to token ids and features: what does not fit is said, none twice."""

import collections
import copy
import dataclasses
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from unialign_jax.features import encoders as encoders_lib
from unialign_jax.features import null_prompt
from unialign_jax.sampling import prompts
from unialign_jax.use import requests

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
      self.check(text)
      if message := self.truncation(text):
        warnings.warn(message, TruncationWarning, stacklevel=2)
    return self._encoder.tokenise(texts, self._length)

  def check(self, text: str) -> None:
    """Refuses a text that no model may be given.

    Raises:
      ValueError: the mask token is in it.
    """
    if self._encoder.mask_id in self._encoder.tokenizer(text)["input_ids"]:
      raise ValueError(
        f"text: got {encoders_lib.MASK_TOKEN} in {_short(text)!r}, expected"
        " clean text, as it stands for what is to be written; remove it."
      )

  @property
  def length(self) -> int:
    """L, tokens of a text."""
    return self._length

  def count(self, text: str) -> int:
    """Tokens of a text, without EOS."""
    return len(self._encoder.tokenizer(text)["input_ids"]) - 1

  def ends_within(self, text: str) -> bool:
    """Whether EOS is in a text: what comes after it would not be read."""
    ids = self._encoder.tokenizer(text)["input_ids"]
    return self._encoder.eos_id in ids[:-1]

  def decode(self, ids: Sequence[int]) -> str:
    """The text of tokens, as `Pipeline.write` gives it."""
    text = self._encoder.tokenizer.decode(list(ids), skip_special_tokens=True)
    return text.strip()

  def written(
    self, token_ids_BL: np.ndarray, is_given_BL: np.ndarray
  ) -> list[requests.Written]:
    """What a network wrote, of its tokens and the places that were given."""
    rows = prompts.answers(
      token_ids_BL, is_given_BL, eos_id=self._encoder.eos_id
    )
    return [
      requests.Written(
        text=self.decode(ids),
        ids=tuple(ids),
        num_given=int(np.cumprod(is_given_L).sum()),
        is_complete=len(ids) < np.count_nonzero(~is_given_L),
      )
      for ids, is_given_L in zip(rows, is_given_BL)
    ]

  def apart(self) -> "Texts":
    """The same for another thread: a tokenizer is not for two at once."""
    own = copy.deepcopy(self._encoder.tokenizer)
    encoder = dataclasses.replace(self._encoder, tokenizer=own)
    return Texts(encoder, self._length, self._encode)

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
