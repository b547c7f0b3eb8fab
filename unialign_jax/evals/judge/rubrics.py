"""What a judge is asked, in the manner of VIEScore (arXiv 2312.14867).

The questions, scales and combinations are VIEScore's: lists of numbers from 0
to 10, of which the smallest counts. The words are this project's own, so that
numbers made with them and with the original's words differ by more than the
judge's moods. A text that changes gets a new id.
"""

import dataclasses

from unialign_jax.evals.judge import replies


@dataclasses.dataclass(frozen=True)
class Rubric:
  """One kind of question.

  Attributes:
    id: which judgements carry.
    criteria: what is shown, and what the numbers stand for.
    count: numbers that are wanted.
    has_text: whether the prompt or the instruction belongs to the question.
  """

  id: str
  criteria: str
  count: int
  has_text: bool = True

  def question(self, text: str = "") -> str:
    """What the judge is told.

    Args:
      text: the prompt or instruction that the picture was made from.
    """
    parts = [_ROLE, self.criteria]
    if self.has_text:
      # Delimited, since a prompt may well look like a part of the question.
      parts.append(f"<<<\n{text.strip()}\n>>>")
    numbers = ", ".join(["n"] * self.count)
    parts.append(_REPLY.format(numbers=numbers, count=_WORDS[self.count]))
    return "\n\n".join(parts)


def combined(scores: replies.Scores) -> float:
  """The score of a list: it is as good as its worst part."""
  return min(scores)


_WORDS = {1: "one number", 2: "two numbers"}
_ROLE = (
  "You are an experienced art director who grades pictures that were made by a"
  " computer. Any people in them are made up or have agreed to be shown. Grade"
  " strictly and soberly, and only what can be seen."
)
_REPLY = (
  'Reply with one JSON object and nothing else: {{"score": [{numbers}],'
  ' "reasoning": "..."}}, with {count} from 0 to 10 in the list, where 0 is'
  " complete failure and 10 leaves nothing to wish for, and with the reasons in"
  " at most two short sentences."
)

EDIT = Rubric(
  id="edit-1",
  criteria=(
    "Two pictures: a photograph, then what an editing program made of it when"
    " it was given the instruction below. If the program failed, both may look"
    " the same. Grade two things.\n"
    "1. Success: is all that the instruction asks for done in the second"
    " picture? 0: nothing of it. 10: every part of it, just as worded.\n"
    "2. Restraint: is all that the instruction does not touch still as it was?"
    " 0: the second picture shows another scene. 10: nothing has changed but"
    " what had to.\n"
    "The instruction is between <<< and >>>:"
  ),
  count=2,
)
PROMPT = Rubric(
  id="prompt-1",
  criteria=(
    "One picture, which a program drew from the prompt below. Grade one"
    " thing.\n"
    "1. Faithfulness: does the picture show what the prompt describes: the"
    " things, their number, colors, attributes, places and relations? 0: it"
    " has nothing to do with the prompt. 10: every detail is as described.\n"
    "The prompt is between <<< and >>>:"
  ),
  count=1,
)
QUALITY = Rubric(
  id="quality-1",
  criteria=(
    "One picture, which a program made. What it was asked for does not matter"
    " here. Grade two things.\n"
    "1. Naturalness: could this be seen like that? Look at perspective,"
    " distances, light and shadows, and whether things belong together. 0: not"
    " at all. 10: nothing gives it away.\n"
    "2. Cleanness: is it free of defects, such as warped or smeared parts,"
    " extra or missing limbs, blurred faces, scratches, watermarks, or subjects"
    " that look pasted in? 0: defects everywhere. 10: none to be found."
  ),
  count=2,
  has_text=False,
)
