"""What judges write, and the scores in it."""

import json
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from unialign_jax.evals.judge import replies


@pytest.mark.parametrize(
  "reply",
  [
    '{"score": [7, 6], "reasoning": "good"}',
    '```json\n{"score": [7, 6]}\n```',
    '```\n{"Scores": [7.0, 6]}\n```',
    'Here you are:\n{"reasoning": "[1, 2]", "score": ["7", "6/10"]}\nBye.',
    "[7, 6]",
    "I would say [7, 6].",
    "{'score': [7, 6], 'reasoning': 'as it should be'}",
    '{"score": [7, 6], "reasoning": "a sign says "stop""}',
    '{"score": [7, 6], "reasoning": "cut off in the mid',
    '{"score": [7, 6,], "reasoning": ""}',
    "score: [7, 6]",
    '{"result": {"score": [7, 6]}}',
    '<think>Perhaps [1, 2] or {"score": [3, 4]}.</think>{"score": [7, 6]}',
    'Perhaps [1, 2].</think>\n{"score": [7, 6]}',
    '{"score": [7, 6]} and once more: {"score": [7, 6]}',
    'Two pictures, [a, b] and [1, 2]: {"score": [7, 6]}',
  ],
)
def test_two_scores(reply):
  assert replies.parse(reply, 2) == (7.0, 6.0)


@pytest.mark.parametrize(
  ("reply", "score"),
  [
    ('{"score": 7}', 7.0),
    ('{"score": [7]}', 7.0),
    ('{"score": "7/10"}', 7.0),
    ("7", 7.0),
    (" 7.5/10\n", 7.5),
    ("```\n7\n```", 7.0),
    ('{"score": [0]}', 0.0),
    ('{"score": [10]}', 10.0),
  ],
)
def test_one_score(reply, score):
  assert replies.parse(reply, 1) == (score,)


@pytest.mark.parametrize(
  ("reply", "reason"),
  [
    ("", "empty"),
    ("  \n", "empty"),
    ("<think>It never ends [7, 6]", "empty"),
    ("I'm sorry, I can't judge people.", "refusal"),
    ("I cannot help with that. [0, 0]", "refusal"),
    ("Both pictures are good.", "no scores"),
    ("I give it 7 and 6.", "no scores"),
    ('{"reasoning": "good"}', "no scores"),
    ('{"score": [7, ', "no scores"),
    ('{"score": [7]}', "wrong count"),
    ('{"score": [7, 6, 5]}', "wrong count"),
    ('{"score": []}', "wrong count"),
    ('{"score": "7, 6"}', "wrong count"),
    ("[[7, 6]]", "wrong count"),
    ('{"score": [11, 3]}', "out of range"),
    ('{"score": [7, -3]}', "out of range"),
    ('{"score": [7, 10.01]}', "out of range"),
    ('{"score": [true, 3]}', "not a number"),
    ('{"score": [null, 3]}', "not a number"),
    ('{"score": [NaN, 3]}', "not a number"),
    ('{"score": [7, "3/5"]}', "not a number"),
    ('{"score": [7, 1e999]}', "not a number"),
    ('{"score": [7, "good"]}', "not a number"),
    ('{"score": [7, 6]} or rather {"score": [7, 5]}', "ambiguous"),
    ("[7, 6] or [7, 5]", "ambiguous"),
    ('{"score": [7, 6]}' + " " * 20_000 + "x", "too long"),
  ],
)
def test_no_scores(reply, reason):
  found = replies.parse(reply, 2)
  assert isinstance(found, replies.Unparsed)
  assert found.reason == reason


def test_numbers_of_hundreds_of_digits():
  """More than a float holds; and more than Python makes a number of."""
  for digits, written, reason in (
    (400, "%s", "not a number"),
    (400, '"%s"', "out of range"),
    (400, '"1/%s"', "not a number"),
    (5000, "%s", "out of range"),
  ):
    number = written % ("9" * digits)
    found = replies.parse(f'{{"score": [7, {number}]}}', 2)
    assert found.reason == reason, (digits, written)


def test_another_scale():
  assert replies.parse("[3, 5, 1]", 3, low=1, high=5) == (3.0, 5.0, 1.0)
  assert replies.parse('["3/5"]', 1, low=1, high=5) == (3.0,)
  assert replies.parse("[0]", 1, low=1, high=5).reason == "out of range"


_SCORES = st.lists(
  st.integers(0, 10) | st.floats(0, 10).map(lambda x: round(x, 2)),
  min_size=1,
  max_size=3,
)


@hypothesis.given(
  _SCORES,
  st.text(max_size=40),
  st.sampled_from(["{}", "```json\n{}\n```", "So: {} ."]),
)
def test_what_is_written_as_asked_is_read(scores, reasoning, around):
  reply = json.dumps({"score": scores, "reasoning": reasoning})
  hypothesis.assume("think>" not in reasoning)
  found = replies.parse(around.replace("{}", reply), len(scores))
  assert found == tuple(map(float, scores))


_PIECES = st.sampled_from(
  [
    *('{"score": ', "[", "]", "}", "{", ", ", '"', "7", "3/10", "-1", "12"),
    *("```", "json\n", "score", ":", " ", "true", "text ", "</think>", "nan"),
  ]
)


@hypothesis.given(st.lists(_PIECES, max_size=14).map("".join))
@hypothesis.settings(max_examples=500)
def test_no_score_is_invented(reply):
  found = replies.parse(reply, 2)
  if isinstance(found, replies.Unparsed):
    assert found.reason
    return
  assert len(found) == 2
  assert all(0 <= score <= 10 for score in found)
  written = {float(number) for number in re.findall(r"[\d.]+", reply)}
  assert set(found) <= written
