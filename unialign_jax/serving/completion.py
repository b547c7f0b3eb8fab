"""Chat completions: whole, or as the events of a stream."""

import json
import secrets
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.use import endings


def whole(
  end: endings.Ended, *, model: str, num_given: int, notes: Sequence[str]
) -> dict[str, Any]:
  """A chat completion.

  Args:
    end: the answer.
    model: its name.
    num_given: tokens of the question.
    notes: what became of the request.
  """
  message = {"role": "assistant", "content": end.text, "refusal": None}
  return {
    "id": f"chatcmpl-{secrets.token_hex(12)}",
    "object": "chat.completion",
    "created": int(time.time()),
    "model": model,
    "choices": [
      {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop" if end.is_complete else "length",
      }
    ],
    "usage": {
      "prompt_tokens": num_given,
      "completion_tokens": end.num_tokens,
      "total_tokens": num_given + end.num_tokens,
    },
    "unialign_notes": list(notes),
  }


def events(completion: Mapping[str, Any], has_usage: bool) -> Iterator[str]:
  """A completion as server-sent events.

  Masked diffusion finishes all tokens of a text together, so all of it is in
  one event.
  """
  (choice,) = completion["choices"]
  head = {
    name: completion[name]
    for name in ("id", "created", "model", "unialign_notes")
  }
  head["object"] = "chat.completion.chunk"
  if has_usage:
    head["usage"] = None
  content = {"role": "assistant", "content": choice["message"]["content"]}
  for delta, reason in ((content, None), ({}, choice["finish_reason"])):
    part = {"index": 0, "delta": delta, "finish_reason": reason}
    yield _event({**head, "choices": [part]})
  if has_usage:
    yield _event({**head, "choices": [], "usage": completion["usage"]})
  yield "data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> str:
  return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
