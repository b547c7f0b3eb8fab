"""The questions ask for what the parser reads."""

import pytest

from unialign_jax.evals.judge import replies
from unialign_jax.evals.judge import rubrics

ALL = [rubrics.EDIT, rubrics.PROMPT, rubrics.QUALITY]


@pytest.mark.parametrize("rubric", ALL)
def test_a_reply_in_the_form_asked_for(rubric):
  question = rubric.question("a bus")
  shown = question[question.index('{"score"') : question.index("}", -200) + 1]
  numbers = iter("321")
  reply = "".join(next(numbers) if c == "n" else c for c in shown[:15])
  reply += shown[15:]
  expected = tuple(float(n) for n in "321"[: rubric.count])
  assert replies.parse(reply, rubric.count) == expected


def test_the_text_stands_in_the_question_as_it_is():
  text = 'Write "{score}" and {} on the wall.\nKeep %s.'
  for rubric in (rubrics.EDIT, rubrics.PROMPT):
    assert f"<<<\n{text}\n>>>" in rubric.question(f" {text}\n")
  assert "wall" not in rubrics.QUALITY.question(text)


def test_the_worst_part_counts():
  assert rubrics.combined((7.0, 3.0)) == 3.0
  assert rubrics.combined((7.0,)) == 7.0


def test_ids_and_numbers():
  assert len({rubric.id for rubric in ALL}) == 3
  assert [rubric.count for rubric in ALL] == [2, 1, 2]
