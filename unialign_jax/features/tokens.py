"""Token ids of a sample: the prompt, and the caption or question and answer.

Texts are padded with EOS to one length; a longer one is cut on the right and
keeps its EOS. Understanding samples read `Q: {question} A: ` without its EOS,
then the answer with its EOS, as in Dual Diffusion; the question is excluded
from the text loss, EOS and padding count. Only the last place, EOS in every
text, is never masked: nothing else tells fully masked positions apart, as
neither T5 nor the text stream has absolute positions. Samplers give it too.
"""

import dataclasses
from typing import Protocol

import numpy as np

from unialign_jax.data import sample as sample_lib

QUESTION_FORMAT = "Q: {} A: "


class SampleError(ValueError):
  """A sample that cannot be encoded; the message names it."""

  def __init__(self, sample: sample_lib.Sample, reason: str):
    super().__init__(f"sample {sample.key!r} of {sample.source}: {reason}")


class Tokenizing(Protocol):
  """The part of `features.encoders.TextEncoder` that tokens need."""

  tokenizer: object  # called with a text, gives "input_ids" ending in EOS
  eos_id: int
  mask_id: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
  """The token ids of one sample."""

  prompt_ids: np.ndarray  # [L] int32
  caption_ids: np.ndarray  # [L] int32
  label_mask: np.ndarray  # [L] uint8, 0 on a question and on the last token
  prompt_truncated: bool
  caption_truncated: bool


def tokenise(
  sample: sample_lib.Sample, encoder: Tokenizing, length: int
) -> Tokens:
  """Token ids of both texts of a sample.

  Args:
    sample: The sample.
    encoder: Its tokenizer gives ids that end in `eos_id`.
    length: Number of tokens L, padding included.

  Raises:
    SampleError: the question leaves no room for an answer, or a text contains
      the mask token, which no clean text may.
  """
  prompt = _ids(encoder, sample.instruction)
  question: list[int] = []
  if sample.question:
    question = _ids(encoder, QUESTION_FORMAT.format(sample.question))[:-1]
  caption = question + _ids(encoder, sample.caption)
  if len(question) + 2 > length:
    raise SampleError(
      sample,
      f"got a question of {len(question)} tokens, expected at most"
      f" {length - 2} so that one token of answer and EOS fit; shorten it or"
      " raise data.text_length",
    )
  for name, ids in (("instruction", prompt), ("caption", caption)):
    if encoder.mask_id in ids:
      raise SampleError(
        sample,
        f"got the mask token (id {encoder.mask_id}) in the {name}, expected"
        " clean text; remove it from the text",
      )
  label_mask = np.ones(length, np.uint8)
  label_mask[: len(question)] = 0
  label_mask[-1] = 0
  return Tokens(
    prompt_ids=_fit(prompt, length, encoder.eos_id),
    caption_ids=_fit(caption, length, encoder.eos_id),
    label_mask=label_mask,
    prompt_truncated=len(prompt) > length,
    caption_truncated=len(caption) > length,
  )


def _ids(encoder: Tokenizing, text: str) -> list[int]:
  return list(encoder.tokenizer(text)["input_ids"])


def _fit(ids: list[int], length: int, eos_id: int) -> np.ndarray:
  """Pads with EOS, or cuts on the right and ends in EOS; `[length]` int32."""
  fitted = np.full(length, eos_id, np.int32)
  kept = ids[: length - 1]  # the last place is an EOS in any case
  fitted[: len(kept)] = kept
  return fitted
