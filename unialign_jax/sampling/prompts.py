"""Prompts for the text sampler, and its tokens back to text; on the host."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from unialign_jax.features import tokens


def caption_prompt(
  batch: int, length: int, *, eos_id: int
) -> tuple[np.ndarray, np.ndarray]:
  """Only the last token given: EOS, with which every training text ends.

  As in training, see `features.tokens`.

  Args:
    batch: number of images.
    length: L, the length the model was trained with.
    eos_id: end of sequence and padding.

  Returns:
    (ids [batch, L] int32, mask [batch, L] bool, True on the last token).
  """
  is_given_BL = np.zeros((batch, length), bool)
  is_given_BL[:, -1] = True
  return np.full((batch, length), eos_id, np.int32), is_given_BL


def answer_prompt(
  tokenise: Callable[[Sequence[str], int], np.ndarray],
  questions: Sequence[str],
  length: int,
  *,
  eos_id: int,
) -> tuple[np.ndarray, np.ndarray]:
  """`Q: {question} A: ` given, without its EOS, as `features.tokens` packs it.

  Args:
    tokenise: (texts, length) -> ids [B, length], EOS-terminated and -padded.
    questions: one per image.
    length: L, the length the model was trained with.
    eos_id: end of sequence and padding.

  Returns:
    (ids [B, L] int32, mask [B, L] bool, True on the question and on the last
    token, which is EOS as in `caption_prompt`).

  Raises:
    ValueError: for a question that leaves no room for a token and its EOS.
  """
  prompts = [tokens.QUESTION_FORMAT.format(q) for q in questions]
  ids_BL = np.asarray(tokenise(prompts, length))
  is_given_BL = np.cumsum(ids_BL == eos_id, axis=-1) == 0
  for question, given in zip(questions, is_given_BL.sum(axis=-1)):
    if given > length - 2:
      raise ValueError(
        f"question: got one that leaves {length - given} of {length} tokens"
        f" for the answer, expected at least 2: {question!r}; shorten it."
      )
  is_given_BL[:, -1] = True
  return ids_BL.astype(np.int32), is_given_BL


def decode(
  tokenizer: Any,
  token_ids_BL: np.ndarray,
  prompt_mask_BL: np.ndarray,
  *,
  eos_id: int,
) -> list[str]:
  """The text after each prompt, cut at its first EOS.

  Args:
    tokenizer: anything with Hugging Face's `decode`.
    token_ids_BL: what `sample_text` returned.
    prompt_mask_BL: True where the token was given; the prompt is what was
      given from the start on.
    eos_id: end of sequence.
  """
  rows = answers(token_ids_BL, prompt_mask_BL, eos_id=eos_id)
  return [
    tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in rows
  ]


def answers(
  token_ids_BL: np.ndarray, prompt_mask_BL: np.ndarray, *, eos_id: int
) -> list[list[int]]:
  """The tokens after each prompt, up to their first EOS.

  Args:
    token_ids_BL: as `decode` has it, as are the others.
    prompt_mask_BL: see there.
    eos_id: see there.
  """
  rows = []
  for ids, given in zip(np.asarray(token_ids_BL), np.asarray(prompt_mask_BL)):
    answer = ids[int(np.cumprod(given).sum()) :]
    ends = np.flatnonzero(answer == eos_id)
    rows.append((answer[: ends[0]] if ends.size else answer).tolist())
  return rows
