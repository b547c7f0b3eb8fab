"""What a vision-language model is asked for, and how its replies are read."""

import dataclasses
import json
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals.judge import replies
from unialign_jax.evals.semgen.building import checks

_FENCE = re.compile(r"```[\w-]*\s*(.*?)```", re.DOTALL)
_JSON = (
  " Reply with one JSON object and nothing else, in English, with these keys: "
)
_TRUE = (
  "Say only what can be seen. Do not speak of a picture, a photograph or a"
  " camera. "
)


@dataclasses.dataclass(frozen=True)
class Proposal:
  """One kind of prompt to be written.

  Attributes:
    field: of a line of the set.
    id: of the wording; a wording that changes gets a new one.
    request: what the model is told.
    read: text and problems of a reply's object, with a count of tokens.
  """

  field: str
  id: str
  request: str
  read: Callable[[Mapping[str, Any], checks.Tokens], tuple[str, list[str]]]

  def question(
    self, caption: str, rejected: Sequence[tuple[str, str]] = ()
  ) -> str:
    """The request, with what is known of the photograph.

    Args:
      caption: of it; "" where there is none.
      rejected: earlier texts and why a person did not take them. They also
        make the question another one, which a model that always takes the
        likeliest words needs to find others.
    """
    parts = [self.request]
    if caption:
      parts.append(f"Somebody described it like this: {caption}")
    if rejected:
      parts.append("Write something else than these, which were rejected:")
      parts += [_rejection(text, comment) for text, comment in rejected]
    return "\n\n".join(parts)

  def parse(
    self, reply: str, tokens: checks.Tokens = checks.words_and_marks
  ) -> str | replies.Unparsed:
    """The prompt in a reply, or why there is none that will do."""
    found = _object(reply)
    if found is None:
      return replies.Unparsed("no object", reply[:200])
    text, problems = self.read(found, tokens)
    if problems:
      return replies.Unparsed("problems", "; ".join(problems))
    return text


def _rejection(text: str, comment: str) -> str:
  return f"- {text or 'no text'}" + (f" ({comment})" if comment else "")


def _object(reply: str) -> Mapping[str, Any] | None:
  """The JSON object that a reply is, with or without a fence around it."""
  fenced = _FENCE.search(reply)
  text = fenced.group(1) if fenced else reply[reply.find("{") :]
  try:
    found, _ = json.JSONDecoder().raw_decode(text.strip())
  except (ValueError, RecursionError):
    return None
  return found if isinstance(found, dict) else None


def _text(found: Mapping[str, Any], key: str) -> str:
  value = found.get(key)
  return " ".join(value.split()) if isinstance(value, str) else ""


def _read_long(
  found: Mapping[str, Any], tokens: checks.Tokens
) -> tuple[str, list[str]]:
  text = _text(found, "prompt")
  return text, checks.long_prompt(text, tokens)


def _read_semantic(
  found: Mapping[str, Any], tokens: checks.Tokens
) -> tuple[str, list[str]]:
  del tokens
  text = _text(found, "prompt")
  return text, checks.semantic_prompt(text, found)


def _read_multi(
  found: Mapping[str, Any], tokens: checks.Tokens
) -> tuple[str, list[str]]:
  del tokens
  given = found.get("instructions")
  given = given if isinstance(given, list) else []
  problems = checks.parallel_instructions(given)
  return ("" if problems else " ".join(one.strip() for one in given)), problems


def _read_edit(
  found: Mapping[str, Any], tokens: checks.Tokens
) -> tuple[str, list[str]]:
  del tokens
  text = _text(found, "instruction")
  problems = checks.semantic_instruction(
    text, found.get("attribute"), found.get("reasoning")
  )
  return text, problems


LONG = Proposal(
  field="t2i_long",
  id="long-1",
  request=(
    "Write a prompt from which somebody who cannot see this photograph could"
    " paint it. One paragraph of 180 to 230 words in plain sentences: the main"
    " subjects with number, colors, materials, poses and expressions, where"
    " everything is relative to everything else, then the surroundings, the"
    f" light, the mood. {_TRUE}{_JSON}"
    '"prompt".'
  ),
  read=_read_long,
)
SEMANTIC = Proposal(
  field="t2i_complex",
  id="semantic-1",
  request=(
    "Write a prompt for a picture like this photograph, of one or two sentences"
    " and 20 to 60 words, which is hard to follow to the letter. It has to"
    " give: a number of things, a color, where one thing is relative to"
    " another, what the background is like, and something that one has to work"
    f" out (why, what for, what must be the case). {_TRUE}{_JSON}"
    '"prompt", and "count", "color", "relation", "background", "reasoning",'
    " each with the words of the prompt that give it, copied exactly, all"
    " different."
  ),
  read=_read_semantic,
)
MULTI = Proposal(
  field="edit_multi",
  id="multi-1",
  request=(
    "Write three instructions to edit this photograph. Each is one short"
    " imperative sentence about another thing that can be seen, and makes"
    " sense without the others and in any order. Vary what is done: adding,"
    " removing, replacing, another color, material, place, weather or light."
    f"{_JSON}"
    '"instructions", a list of three texts.'
  ),
  read=_read_multi,
)
EDIT = Proposal(
  field="edit_complex",
  id="edit-1",
  request=(
    "Write one instruction to edit this photograph: one imperative sentence of"
    " 6 to 20 words that changes an attribute of a thing in it (color, size,"
    " material, number, state, expression ...), where one has to reason to"
    " find out which thing is meant or what it has to become, because the"
    " instruction says it through its role, its relation to others, or a"
    f" consequence.{_JSON}"
    '"instruction", "attribute" (the one that changes), "reasoning" (what one'
    " has to work out, in one sentence)."
  ),
  read=_read_edit,
)
ALL = (LONG, SEMANTIC, MULTI, EDIT)
