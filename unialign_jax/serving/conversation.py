"""The messages of a chat: pictures, and a question after earlier ones."""

from typing import Any

from unialign_jax.serving import errors
from unialign_jax.use import requests

_MAX_TEXT = 2**15  # characters
_MAX_IMAGES = 64


def read(messages: Any) -> tuple[list[Any], str]:
  """Pictures, and the last question with earlier ones and their answers."""
  if not isinstance(messages, list) or not messages:
    raise errors.bad("messages: got none, expected a list.", param="messages")
  urls: list[Any] = []
  said: list[str] = []
  for number, message in enumerate(messages):
    where = f"messages[{number}]"
    role = message.get("role") if isinstance(message, dict) else None
    expected = "user" if number % 2 == 0 else "assistant"
    if role != expected:
      raise errors.bad(
        f"{where}.role: got {str(role)[:40]!r}, expected {expected!r}: this"
        " model knows questions and answers in turn, and nothing of a system;"
        " put what it would say into the question.",
        param="messages",
      )
    found, text = _content(message.get("content"), where)
    if found and role == "assistant":
      raise errors.bad(
        f"{where}: got an image, expected text alone.", param="messages"
      )
    urls += found
    said.append(text)
  if len(said) % 2 == 0:
    raise errors.bad(
      "messages: got an answer at the end, expected a question.",
      param="messages",
    )
  if sum(map(len, said)) > _MAX_TEXT:
    raise errors.bad(
      f"messages: got {sum(map(len, said))} characters, expected at most"
      f" {_MAX_TEXT}.",
      param="messages",
      code="context_length_exceeded",
    )
  if len(urls) > _MAX_IMAGES:
    raise errors.bad(
      f"messages: got {len(urls)} images, expected at most {_MAX_IMAGES}.",
      param="messages",
      code="too_many_images",
    )
  if not urls:
    raise errors.bad(
      "messages: got no image, expected one; this model writes about pictures.",
      param="messages",
      code="no_image",
    )
  turns = list(zip(said[:-1:2], said[1::2]))
  if turns and not all(said):
    raise errors.bad(
      "messages: got an empty text among several, expected words.",
      param="messages",
    )
  return urls, requests.with_turns(said[-1], turns) if turns else said[-1]


def _content(content: Any, where: str) -> tuple[list[Any], str]:
  """The pictures' addresses and the text of one message."""
  parts = [{"type": "text", "text": content}]
  parts = content if isinstance(content, list) else parts
  urls, texts = [], []
  for number, part in enumerate(parts):
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
      texts.append(part["text"].strip())
    elif kind == "image_url" and isinstance(part.get("image_url"), dict):
      urls.append(part["image_url"].get("url"))
    else:
      raise errors.bad(
        f"{where}.content[{number}]: got {str(kind)[:40]!r} or one without its"
        ' field, expected {"type": "text", "text": ...} or {"type":'
        ' "image_url", "image_url": {"url": "data:image/..."}}.',
        param="messages",
      )
  return urls, "\n".join(filter(None, texts))
