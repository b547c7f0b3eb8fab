"""Ids in records are those that sampling makes with the real tokenizer."""

import numpy as np
import pytest
import transformers

from tests.features import fakes
from unialign_jax.features import encoders
from unialign_jax.features import tokens as tokens_lib
from unialign_jax.shapes import tokenizer as tokenizer_lib

LENGTH = 12


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokenizer")
  tokenizer_lib.save(tokenizer_lib.build(["a", "red", "circle"]), folder)
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
  tokenizer.pad_token = tokenizer.eos_token
  return encoders.TextEncoder(
    config=None, params=None, tokenizer=tokenizer, identity="", batch_size=1
  )


@pytest.mark.parametrize(
  "text", ["", " ", "a red circle", "a red circle " * 3 + "a", "red " * 40]
)
def test_prompt_and_caption_equal_the_encoders_own_ids(encoder, text):
  sample = fakes.sample(0, instruction=text, caption=text)
  tokens = tokens_lib.tokenise(sample, encoder, LENGTH)
  (expected,) = encoder.tokenise([text], LENGTH)
  np.testing.assert_array_equal(tokens.prompt_ids, expected)
  np.testing.assert_array_equal(tokens.caption_ids, expected)
  assert tokens.prompt_ids.dtype == np.int32
  assert tokens.prompt_truncated == (len(text.split()) >= LENGTH)
  assert tokens.caption_truncated == tokens.prompt_truncated


def test_a_question_loses_its_eos_and_the_answer_keeps_it(encoder):
  sample = fakes.sample(0, question="a", caption="red")
  tokens = tokens_lib.tokenise(sample, encoder, LENGTH)
  (question,) = encoder.tokenise(["Q: a A: "], LENGTH)
  (answer,) = encoder.tokenise(["red"], LENGTH)
  size = int(np.argmax(question == encoder.eos_id))
  np.testing.assert_array_equal(tokens.caption_ids[:size], question[:size])
  np.testing.assert_array_equal(tokens.caption_ids[size:], answer[:-size])
  counted = [0] * size + [1] * (LENGTH - 1 - size) + [0]
  np.testing.assert_array_equal(tokens.label_mask, counted)


def test_a_question_must_leave_room_for_an_answer(encoder):
  # Q and : with their space, the words, A and :, then one word and EOS.
  fixed = len(encoder.tokenizer("Q: A: ")["input_ids"]) - 1
  fits = fakes.sample(0, question="a " * (LENGTH - 2 - fixed), caption="red")
  tokens = tokens_lib.tokenise(fits, encoder, LENGTH)
  assert tokens.label_mask.sum() == 1  # the last EOS is never masked
  assert not tokens.caption_truncated
  long = fakes.sample(0, question="a " * (LENGTH - 1 - fixed), caption="red")
  with pytest.raises(tokens_lib.SampleError, match=r"sample-0.*at most 10"):
    tokens_lib.tokenise(long, encoder, LENGTH)


@pytest.mark.parametrize("field", ["instruction", "caption", "question"])
def test_the_mask_token_cannot_come_with_a_text(encoder, field):
  sample = fakes.sample(0, **{field: "a <extra_id_0>"})
  with pytest.raises(tokens_lib.SampleError, match="mask token"):
    tokens_lib.tokenise(sample, encoder, LENGTH)
