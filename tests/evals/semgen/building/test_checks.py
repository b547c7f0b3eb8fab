"""What the checks let pass, and what not."""

import json

import pytest
from PIL import Image

from tests.evals.semgen.building import writer
from unialign_jax.evals.semgen.building import checks
from unialign_jax.evals.semgen.building import proposals


def semantic(**changes):
  found = writer.SEMANTIC | changes
  return checks.semantic_prompt(found["prompt"], found)


def test_what_is_good_passes():
  assert checks.long_prompt(writer.LONG) == []
  assert semantic() == []
  assert checks.parallel_instructions(writer.MULTI) == []
  assert checks.semantic_instruction(*writer.EDIT.values()) == []


def test_tokens_are_counted():
  text = "A cat's toy, well-worn: blue."
  assert checks.words_and_marks(text) == 8
  words = " ".join(["dog"] * 199)
  assert checks.long_prompt(words + ".") == [
    "got 200 tokens, expected more than 200"
  ]
  assert checks.long_prompt(words + "s.", lambda text: len(text)) == []
  assert checks.long_prompt(words + " dog.") == []


@pytest.mark.parametrize(
  ("text", "problem"),
  [
    ("The image shows " + writer.LONG, "begins with words about a picture"),
    (writer.LONG.replace(". ", ".\n"), "line breaks"),
    ("**Dogs** " + writer.LONG, "markup"),
    ("狗在草地上奔跑" * 200, "other than English letters"),
    ("", "other than English letters"),
  ],
)
def test_long_prompts_that_are_none(text, problem):
  assert any(problem in found for found in checks.long_prompt(text))


@pytest.mark.parametrize(
  ("changes", "problem"),
  [
    ({"count": "three dogs"}, "count: 'three dogs' is not in the prompt"),
    ({"count": "dogs wait"}, "count: 'dogs wait' has none"),
    ({"color": "brick wall"}, "color: 'brick wall' has none"),
    ({"relation": "somebody had"}, "relation: 'somebody had' has none"),
    ({"reasoning": ""}, "reasoning: got no words"),
    ({"background": None}, "background: got no words"),
    ({"relation": "A  red door"}, "got the same words for two aspects"),
  ],
)
def test_aspects_have_to_be_there(changes, problem):
  assert any(problem in found for found in semantic(**changes))


@pytest.mark.parametrize(
  ("instructions", "problem"),
  [
    (writer.MULTI[:2], "got 2 instructions, expected 3"),
    ([*writer.MULTI[:2], "Then add a hat."], "3: leans on another"),
    ([*writer.MULTI[:2], "Paint the previous thing red."], "3: leans on"),
    ([*writer.MULTI[:2], writer.MULTI[0].upper()], "an instruction twice"),
    ([*writer.MULTI[:2], "Add a hat. Add a coat."], "one full sentence"),
    ([*writer.MULTI[:2], "Add a hat to the dog"], "one full sentence"),
    ([*writer.MULTI[:2], "Add it."], "2 words"),
    ([*writer.MULTI[:2], 7], "3: got no text"),
    ([*writer.MULTI[:2], "Could you add a hat?"], "a question"),
  ],
)
def test_instructions_that_are_not_three_parallel_ones(instructions, problem):
  found = checks.parallel_instructions(instructions)
  assert any(problem in one for one in found)


@pytest.mark.parametrize(
  ("changes", "problem"),
  [
    ({"instruction": " ".join(["red"] * 41) + "."}, "got 41 words"),
    ({"attribute": ""}, "attribute: got none"),
    ({"reasoning": "The door."}, "less than five words"),
    ({"reasoning": writer.EDIT["instruction"]}, "the instruction again"),
  ],
)
def test_a_semantic_edit_has_a_reason(changes, problem):
  found = checks.semantic_instruction(*(writer.EDIT | changes).values())
  assert any(problem in one for one in found)


@pytest.mark.parametrize("proposal", proposals.ALL, ids=lambda p: p.id)
def test_replies_are_read(proposal):
  images = [Image.new("RGB", (4, 4), "gray")]
  reply = writer.reply(proposal.question("A dog."), images)
  for text in (reply, f"```json\n{reply}\n```", f"Here: {reply}"):
    found = proposal.parse(text)
    assert isinstance(found, str) and found.endswith(".")
  assert proposal.parse("Two dogs.").reason == "no object"
  assert proposal.parse("[1]").reason == "no object"
  assert proposal.parse("{}").reason == "problems"


def test_three_instructions_become_one_text():
  text = proposals.MULTI.parse(json.dumps({"instructions": writer.MULTI}))
  assert text == " ".join(writer.MULTI)


def test_what_the_model_is_told():
  question = proposals.EDIT.question(
    "Two dogs.", [("Add a hat.", "It was dull."), ("Add a cap.", "")]
  )
  assert "described it like this: Two dogs." in question
  assert "- Add a hat. (It was dull.)\n\n- Add a cap." in question
  assert "described" not in proposals.EDIT.question("")
  assert len({p.id for p in proposals.ALL}) == 4
