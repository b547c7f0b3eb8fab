"""Captions end with a full sentence within the tokens of a record."""

import itertools

import pytest

from tests.features.captioning import fakes
from unialign_jax.features.captioning import length
from unialign_jax.shapes import weights

TEXT = 'One two. Dr. Low says "Go!" Is 1.5 m it? Yes'


@pytest.mark.parametrize(
  ("text", "sentences"),
  [
    (TEXT, ["One two.", ' Dr. Low says "Go!"', " Is 1.5 m it?"]),
    ("By J. Smith, e.g. this. End", ["By J. Smith, e.g. this."]),
    ("What?! No... So", ["What?!", " No..."]),
    ("猫。狗！", ["猫。", "狗！"]),
    ("no end", []),
    (".", ["."]),
  ],
)
def test_sentences(text, sentences):
  ends = [0, *length.sentence_ends(text)]
  assert [text[a:b] for a, b in itertools.pairwise(ends)] == sentences


@pytest.mark.parametrize(
  ("tokens", "kept"),
  [
    (2, ""),
    (3, "One two."),
    (6, "One two."),
    (7, 'One two. Dr. Low says "Go!"'),
  ],
)
def test_cut_keeps_full_sentences_within_the_tokens_and_eos(tokens, kept):
  assert length.Limit(fakes.tokenizer, tokens).cut(TEXT) == kept


def test_fits_counts_eos():
  assert length.Limit(fakes.tokenizer, 4).fits("one two three")
  assert not length.Limit(fakes.tokenizer, 3).fits("one two three")


def test_tokenizer_of_the_text_encoder():
  tokenizer = length.load_tokenizer(str(weights.TOKENIZER))
  ids = tokenizer("a red circle")["input_ids"]
  assert ids[-1] == tokenizer.eos_token_id
  assert length.Limit(tokenizer, len(ids)).fits("a red circle")
  assert not length.Limit(tokenizer, len(ids) - 1).fits("a red circle")


def test_tokenizer_that_is_not_there(tmp_path):
  with pytest.raises(
    ValueError, match=r"(?s)--tokenizer: got .*expected a folder"
  ):
    length.load_tokenizer(str(tmp_path))
