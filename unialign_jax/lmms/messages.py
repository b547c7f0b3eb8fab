"""Documents of lmms-eval's tasks: messages to pictures and a question."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.use import requests


class Unanswerable(ValueError):
  """A document that this model cannot be asked about."""


def read(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Any], str]:
  """The pictures of a conversation, and its last question after earlier ones.

  Texts are joined by line breaks, as the served route does.

  Args:
    messages: of `doc_to_messages`, user and assistant in turn.

  Returns:
    (Pillow images or paths in order, question).

  Raises:
    Unanswerable: roles out of turn, or what is neither text nor image.
  """
  pictures: list[Any] = []
  said: list[str] = []
  for number, message in enumerate(messages):
    expected = "user" if number % 2 == 0 else "assistant"
    if message["role"] != expected:
      raise Unanswerable(
        f"got a message of the {message['role']}, expected one of the"
        f" {expected}"
      )
    texts = []
    for part in message["content"]:
      if part["type"] == "text":
        texts.append(part["text"].strip())
      elif part["type"] == "image":
        pictures.append(part["url"])
      else:
        raise Unanswerable(f"got {part['type']}, expected text and images")
    said.append("\n".join(filter(None, texts)))
  if len(said) % 2 == 0:
    raise Unanswerable("got no question at the end")
  if not pictures:
    raise Unanswerable("got no image, expected one")
  turns = list(zip(said[:-1:2], said[1::2]))
  return pictures, requests.with_turns(said[-1], turns) if turns else said[-1]
