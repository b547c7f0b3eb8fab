"""Prompts of the text sampler, and tokens back to text."""

import numpy as np
import pytest

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import tokens
from unialign_jax.sampling import prompts

EOS = 1


class _Letters:
  """One token per letter, EOS at the end; what prompts need of a tokenizer."""

  eos_id = EOS
  mask_id = 2

  def tokenizer(self, text):
    return {"input_ids": [ord(c) for c in text.strip()] + [EOS]}

  def tokenise(self, texts, length):
    ids = np.full((len(texts), length), EOS, np.int32)
    for row, text in zip(ids, texts):
      letters = self.tokenizer(text)["input_ids"][: length - 1]
      row[: len(letters)] = letters
    return ids

  def decode(self, ids, *, skip_special_tokens):
    assert skip_special_tokens and EOS not in ids
    return "".join(map(chr, ids))


def test_a_caption_prompt_gives_only_the_end():
  ids, given = prompts.caption_prompt(2, 5, eos_id=EOS)
  assert ids.shape == given.shape == (2, 5)
  assert ids.dtype == np.int32 and (ids[:, -1] == EOS).all()
  assert given[:, -1].all() and not given[:, :-1].any()


def test_an_answer_prompt_is_the_question_as_training_packs_it():
  letters = _Letters()
  ids, given = prompts.answer_prompt(
    letters.tokenise, ["how many?", "why?"], 24, eos_id=EOS
  )
  assert given[:, -1].all() and (ids[:, -1] == EOS).all()
  assert not (ids[:, :-1][given[:, :-1]] == EOS).any()
  for row, mask, question in zip(ids, given, ("how many?", "why?")):
    packed = tokens.tokenise(
      sample_lib.Sample(
        key="k",
        task="understanding",
        source="s",
        license="l",
        caption_source="c",
        target_image=np.zeros((1, 1, 3), np.uint8),
        instruction="x",
        question=question,
        caption="3",
      ),
      letters,
      24,
    )
    np.testing.assert_array_equal(mask, packed.label_mask == 0)
    np.testing.assert_array_equal(row[mask], packed.caption_ids[mask])


def test_a_question_without_room_for_an_answer_is_refused():
  letters = _Letters()
  fits = "x" * (24 - 2 - len("Q:  A:"))
  prompts.answer_prompt(letters.tokenise, [fits], 24, eos_id=EOS)
  for question in (fits + "x", fits + "xxx"):
    with pytest.raises(ValueError, match="shorten it"):
      prompts.answer_prompt(letters.tokenise, [question], 24, eos_id=EOS)


def test_decode_cuts_at_the_first_eos_after_the_prompt():
  letters = _Letters()
  ids = np.array([[*b"Q: A: two", EOS, *b"bad", EOS], [*b"a red circle  "]])
  given = np.zeros(ids.shape, bool)
  given[0, :6] = True
  assert prompts.decode(letters, ids, given, eos_id=EOS) == [
    "two",
    "a red circle",
  ]
