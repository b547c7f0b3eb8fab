"""Questions that are too long, and where answers end."""

import threading

import numpy as np
import pytest

from unialign_jax import pipeline
from unialign_jax.features import tokens
from unialign_jax.use import endings
from unialign_jax.use import long_questions
from unialign_jax.use import requests

_LONG = " ".join(["red"] * 40)


def _num_tokens(pipe: pipeline.Pipeline, question: str) -> int:
  return pipe.texts.count(tokens.QUESTION_FORMAT.format(question))


@pytest.mark.parametrize("room", [1, 4, 9])
def test_a_cut_question_leaves_the_room_and_no_more(
  pipe: pipeline.Pipeline, room: int
):
  question = f"{_LONG} what color?"
  got = long_questions.fitted(pipe.texts, question, room=room, may_cut=True)
  assert got.cut + got.question == question
  assert got.question.startswith("red ") and got.question.endswith("color?")
  most = pipe.texts.length - 1 - room
  assert _num_tokens(pipe, got.question) <= most
  assert _num_tokens(pipe, f"red {got.question}") > most


def test_what_fits_is_left_as_it_is(pipe: pipeline.Pipeline):
  length = pipe.texts.length
  frame = _num_tokens(pipe, "red") - 1
  longest = " ".join(["red"] * (length - 2 - frame))
  for question in ("", "what color?", longest):
    got = long_questions.fitted(pipe.texts, question, room=1, may_cut=False)
    assert got == long_questions.Fitted(question)
    pipe.check_question(question)
  with pytest.raises(long_questions.TooLong, match=f"share {length} tokens"):
    long_questions.fitted(pipe.texts, f"{longest} red", room=1, may_cut=False)
  with pytest.raises(ValueError, match="leaves"):
    pipe.check_question(f"{longest} red")


def test_one_long_word_cannot_be_cut(pipe: pipeline.Pipeline):
  with pytest.raises(long_questions.TooLong, match="last word"):
    long_questions.fitted(pipe.texts, f"what {'x' * 60}", room=1, may_cut=True)


@pytest.mark.parametrize("token", ["<extra_id_0>", "</s>"])
def test_a_token_of_another_meaning_is_refused(
  pipe: pipeline.Pipeline, token: str
):
  with pytest.raises(ValueError, match="remove it"):
    long_questions.fitted(
      pipe.texts, f"what {token} color?", room=1, may_cut=True
    )


def _written(
  pipe: pipeline.Pipeline, text: str, is_complete: bool = True
) -> requests.Written:
  ids = pipe.texts._encoder.tokenizer(text)["input_ids"][:-1]
  return requests.Written(
    text=text, ids=tuple(ids), num_given=3, is_complete=is_complete
  )


@pytest.mark.parametrize(
  ("settings", "text", "num_tokens", "is_complete"),
  [
    ({}, "a red circle", 3, True),
    ({"most": 3}, "a red circle", 3, True),
    ({"most": 2}, "a red", 2, False),
    ({"stops": ["circle", "red"]}, "a", 3, True),
    ({"stops": ["blue"]}, "a red circle", 3, True),
    ({"stops": ["circle"], "most": 2}, "a red", 2, False),
    ({"stops": ["red"], "most": 2}, "a", 2, True),
  ],
)
def test_where_an_answer_ends(
  pipe: pipeline.Pipeline,
  settings: dict,
  text: str,
  num_tokens: int,
  is_complete: bool,
):
  written = _written(pipe, "a red circle")
  got = endings.ended(pipe.texts, written, **settings)
  assert got == endings.Ended(
    text=text, num_tokens=num_tokens, is_complete=is_complete
  )


def test_a_full_room_is_not_an_end(pipe: pipeline.Pipeline):
  written = _written(pipe, "a red circle", is_complete=False)
  assert not endings.ended(pipe.texts, written).is_complete
  assert endings.ended(pipe.texts, written, stops=["red"]).is_complete


def test_what_the_network_wrote_is_told_in_full(pipe: pipeline.Pipeline):
  """By the tokens: an EOS ends a text, the end of the room cuts it off."""
  texts, eos_id = pipe.texts, pipe.texts._encoder.eos_id
  length = texts.length
  (red,) = texts._encoder.tokenizer("red")["input_ids"][:-1]
  given_L = np.zeros(length, bool)
  given_L[:4], given_L[-1] = True, True
  ended_L = np.full(length, eos_id, np.int32)
  ended_L[:6] = red
  full_L = np.full(length, red, np.int32)
  full_L[-1] = eos_id
  ended, full = texts.written(
    np.stack([ended_L, full_L]), np.stack([given_L, given_L])
  )
  assert ended == requests.Written(
    text="red red", ids=(red, red), num_given=4, is_complete=True
  )
  assert len(full.ids) == length - 5 and not full.is_complete


def test_texts_for_another_thread_count_the_same(pipe: pipeline.Pipeline):
  """Tokenizers of Rust end in an error where two threads share one."""
  apart = pipe.texts.apart()
  faults = []

  def count() -> None:
    try:
      for _ in range(200):
        assert apart.count("a red circle") == 3
    except Exception as error:
      faults.append(error)

  thread = threading.Thread(target=count)
  thread.start()
  for _ in range(200):
    pipe.texts.tokenise(["a red circle"])
  thread.join()
  assert not faults
