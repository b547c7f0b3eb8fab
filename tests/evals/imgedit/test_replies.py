"""What is read in a judge's reply, and what the official script reads in it."""

import pytest

from tests.evals.imgedit import files
from unialign_jax.evals.imgedit import replies
from unialign_jax.evals.judge import replies as judge_replies

_R = files.reply


@pytest.mark.parametrize(
  "reply, released, repaired",
  [
    (_R(4, 3, 5), 4.0, (4, 3, 5)),
    (_R(4, 3, 4), 3.67, (4, 3, 4)),
    # The official script drops a line with a full stop, and what is bold.
    (_R(4, 3, "5."), 3.5, (4, 3, 5)),
    ("**A:** 4\n**B:** 3\n**C:** 5", None, (4, 3, 5)),
    ("**A**: 4\n**B**: 3\n**C**: 5", 4.0, (4, 3, 5)),
    ("A: 4/5\nB: 3/5\nC: 5/5", None, (4, 3, 5)),
    ("A:4\nB:3\nC:5", None, (4, 3, 5)),
    ("- A: 4\n- B: 3\n- C: 5", 4.0, (4, 3, 5)),
    ("1. A: 4\n2. B: 3\n3. C: 5", 4.0, (4, 3, 5)),
    ("A = 4\nB = 3\nC = 5", None, (4, 3, 5)),
    # It counts a number in the line of reasons.
    ("Brief reasoning: 3\nA: 4\nB: 3\nC: 5", 3.75, (4, 3, 5)),
    ("Brief reasoning: it is: 3\nA: 4\nB: 3\nC: 5", 4.0, (4, 3, 5)),
    ("<think>A: 1</think>\nA: 4\nB: 3\nC: 5", 4.0, (4, 3, 5)),
    # And as many lines as there are, of any size.
    ("A: 4\nB: 3", 3.5, "wrong count"),
    ("A: 4\nB: 3\nC: 5\nD: 1", 3.25, "wrong count"),
    ("A: 4\nB: 3\nC: 7", 4.67, "out of range"),
    ("A: 0\nB: 3\nC: 5", 2.67, "out of range"),
    ("A: 4/10\nB: 3/10\nC: 5/10", None, "out of range"),
    ("A: 4.5\nB: 3\nC: 5", 4.0, "wrong count"),
    ("A: 4\nB: ²", 4.0, "wrong count"),
    ("Brief reasoning: none", None, "no scores"),
    ("I cannot judge that.", None, "no scores"),
    ("", None, "empty"),
  ],
)
def test_both_ways_of_reading(reply: str, released, repaired):
  assert replies.as_released(reply) == released
  found = replies.parse(reply)
  if isinstance(found, judge_replies.Unparsed):
    assert found.reason == repaired
  else:
    assert found == repaired


def test_what_ends_the_official_script_is_left_out():
  """Digits that are no number, and more of them than a number may have."""
  for digits in ("²", "1²", "9" * 400, "9" * 5000):
    assert replies.as_released(f"A: {digits}") is None
    assert replies.as_released(f"A: 4\nB: 3\nC: {digits}") == 3.5
  assert replies.as_released("A: 4\nB: " + "9" * 300) > 1e299
