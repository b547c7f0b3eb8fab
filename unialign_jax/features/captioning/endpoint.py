"""Captions from a server that speaks the OpenAI protocol (vLLM and others)."""

import asyncio
import base64
import io
import os
from collections.abc import Sequence
from typing import Any

from unialign_jax.features.captioning import captioner

# Every request would get the same answer.
_REFUSED = {
  401: "set OPENAI_API_KEY to a key that the server accepts",
  403: "set OPENAI_API_KEY to a key that may use the model",
  404: "check --endpoint (it usually ends in /v1) and --model, the name under"
  " which the server serves the model",
}


class Endpoint:
  """A model behind `/chat/completions`.

  Rate limits, server errors, timeouts and lost connections are tried again by
  the client after a growing pause, or after the pause that the server asks
  for in `Retry-After`.

  Args:
    url: Of the server, usually ending in /v1.
    model: The name under which it serves the model.
    decoding: Sent with every request.
    timeout: Seconds to wait for an answer.
    retries: Further attempts at one request.

  Raises:
    Unusable: the client is not installed.
  """

  batch_size = 1

  def __init__(
    self,
    url: str,
    model: str,
    *,
    decoding: captioner.Decoding,
    timeout: float = 120.0,
    retries: int = 6,
  ):
    self._openai = _client_library()
    self._model = model
    self._decoding = decoding
    self._client = self._openai.AsyncOpenAI(
      base_url=url,
      # Servers of one's own want none, the client wants one.
      api_key=os.environ.get("OPENAI_API_KEY") or "none",
      timeout=timeout,
      max_retries=retries,
    )

  async def write(
    self, requests: Sequence[captioner.Request]
  ) -> list[captioner.Answer | captioner.Failure]:
    """See `captioner.Captioner`."""
    return [await self._ask(request) for request in requests]

  async def close(self) -> None:
    await self._client.close()

  async def _ask(
    self, request: captioner.Request
  ) -> captioner.Answer | captioner.Failure:
    url = await asyncio.to_thread(data_url, request)
    content = [
      {"type": "image_url", "image_url": {"url": url}},
      {"type": "text", "text": request.prompt},
    ]
    options: dict[str, Any] = {}
    if self._decoding.seed is not None:
      options["seed"] = self._decoding.seed
    try:
      completion = await self._client.chat.completions.create(
        model=self._model,
        messages=[{"role": "user", "content": content}],
        temperature=self._decoding.temperature,
        max_tokens=self._decoding.max_tokens,
        **options,
      )
    except self._openai.APITimeoutError as error:
      return captioner.Failure("timeout", str(error))
    except self._openai.APIConnectionError as error:
      return captioner.Failure("connection", str(error.__cause__ or error))
    except self._openai.APIStatusError as error:
      return self._failure(error)
    except (self._openai.APIError, ValueError) as error:
      return captioner.Failure("malformed answer", str(error))
    return _answer(completion)

  def _failure(self, error: Any) -> captioner.Failure:
    if remedy := _REFUSED.get(error.status_code):
      raise captioner.Unusable(
        f"{self._client.base_url}: got HTTP {error.status_code}"
        f" ({error.message}), expected captions by {self._model!r}; {remedy}"
      ) from error
    return captioner.Failure(f"http {error.status_code}", error.message)


def data_url(request: captioner.Request) -> str:
  """The picture in a URL: PNG where it must be lossless, else JPEG."""
  kind = "png" if request.lossless else "jpeg"
  encoded = io.BytesIO()
  request.image.save(encoded, kind, quality=92)
  text = base64.b64encode(encoded.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{text}"


def _answer(completion: Any) -> captioner.Answer | captioner.Failure:
  """Of a `ChatCompletion`, whose fields the client does not check."""
  try:
    choice = completion.choices[0]
    text = choice.message.content or ""
    refusal = getattr(choice.message, "refusal", None)
    finish = choice.finish_reason
  except (AttributeError, IndexError, KeyError, TypeError):
    return captioner.Failure("malformed answer", str(completion)[:200])
  if refusal or finish == "content_filter":
    return captioner.Failure("refusal", str(refusal or "content filter"))
  if not isinstance(text, str):
    return captioner.Failure("malformed answer", str(text)[:200])
  return captioner.Answer(text, complete=finish != "length")


def _client_library() -> Any:
  try:
    import openai  # in an extra: only this command needs it
  except ImportError as error:
    raise captioner.Unusable(
      "--endpoint: the openai client is not installed; install the extra with"
      " pip install -c constraints.txt -e '.[recaption]'"
    ) from error
  return openai
