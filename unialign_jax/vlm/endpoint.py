"""A model behind a server that speaks the OpenAI protocol (vLLM and others)."""

import asyncio
import base64
import io
import logging
import os
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

from PIL import Image

from unialign_jax.vlm import asking

# Every request would get the same answer.
_REFUSED = {
  401: "set OPENAI_API_KEY to a key that the server accepts",
  403: "set OPENAI_API_KEY to a key that may use the model",
  404: "check the address (it usually ends in /v1) and the name of the model,"
  " that under which the server serves it",
}
# The same request would get the same answer, another one need not.
_REJECTED = (400, 413, 422)
# Codes by which OpenAI's and Azure's filters of contents refuse, with 400.
_FILTERED = ("content_filter", "content_policy_violation")
# Loggers of the client that tell whole URLs, with user, password and query,
# and the headers of replies.
_TELL_ALL = ("httpx", "httpx2", "httpcore", "httpcore2")
MAX_REPLY_BYTES = 2**20  # a hundred times what is asked for
# Characters. What is shorter ("1", "none", "EMPTY") guards nothing, and is in
# any text by chance.
_SHORTEST_SECRET = 8


class Endpoint:
  """A model behind `/chat/completions`.

  Rate limits, server errors, timeouts and lost connections are tried again by
  the client after a growing pause, or after the pause that the server asks
  for in `Retry-After`, up to two minutes.

  Args:
    url: Of the server, usually ending in /v1.
    model: The name under which it serves the model.
    decoding: Sent with every request.
    timeout: Seconds to wait for an answer, and for all of it once it comes.
    retries: Further attempts at one request.
    max_reply_bytes: Of a reply; a longer one is given up.

  Attributes:
    address: The URL without what only its owner may know.

  Raises:
    Unusable: the client is not installed, or the URL is none.
  """

  batch_size = 1

  def __init__(
    self,
    url: str,
    model: str,
    *,
    decoding: asking.Decoding,
    timeout: float = 120.0,
    retries: int = 6,
    max_reply_bytes: int = MAX_REPLY_BYTES,
  ):
    self._openai = _client_library()
    for name in _TELL_ALL:
      logging.getLogger(name).setLevel(logging.WARNING)
    self.address = without_secrets(url)
    self._model = model
    self._decoding = decoding
    self._limit_field = "max_tokens"
    self._secrets = _secrets(url)
    self._client = self._openai.AsyncOpenAI(
      base_url=url,
      # Servers of one's own want none, the client wants one.
      api_key=os.environ.get("OPENAI_API_KEY") or "none",
      timeout=timeout,
      max_retries=retries,
      http_client=_bounded_client(self._openai, timeout, max_reply_bytes),
    )

  async def write(
    self,
    requests: Sequence[asking.Request],
    *,
    decoding: asking.Decoding | None = None,
  ) -> list[asking.Answer | asking.Failure]:
    """See `asking.Model`."""
    how = decoding or self._decoding
    return [await self._ask(request, how) for request in requests]

  async def close(self) -> None:
    await self._client.close()

  async def _ask(
    self, request: asking.Request, decoding: asking.Decoding
  ) -> asking.Answer | asking.Failure:
    content = await asyncio.to_thread(_content, request)
    try:
      completion = await self._complete(content, decoding)
    except self._openai.APITimeoutError as error:
      return self._failure("timeout", error)
    except self._openai.APIConnectionError as error:
      return self._failure("connection", error.__cause__ or error)
    except self._openai.APIStatusError as error:
      return self._status_failure(error)
    except (self._openai.OpenAIError, ValueError) as error:
      return self._failure("malformed answer", error)
    result = _answer(completion)
    if isinstance(result, asking.Failure):
      return self._failure(result.reason, result.detail)
    return asking.Answer(self._censored(result.text), result.complete)

  async def _complete(
    self, content: Sequence[dict[str, Any]], decoding: asking.Decoding
  ) -> Any:
    options: dict[str, Any] = {}
    if decoding.seed is not None:
      options["seed"] = decoding.seed
    if decoding.temperature is not None:
      options["temperature"] = decoding.temperature
    limit_field = self._limit_field
    try:
      return await self._client.chat.completions.create(
        model=self._model,
        messages=[{"role": "user", "content": content}],
        **{limit_field: decoding.max_tokens},
        **options,
      )
    except self._openai.BadRequestError as error:
      # Newer OpenAI models know the limit by this name alone.
      if limit_field != "max_tokens" or error.param != "max_tokens":
        raise
      self._limit_field = "max_completion_tokens"
      return await self._complete(content, decoding)

  def _status_failure(self, error: Any) -> asking.Failure:
    if remedy := _REFUSED.get(error.status_code):
      raise asking.Unusable(
        f"{self.address}: got HTTP {error.status_code}"
        f" ({self._censored(error.message)}), expected answers by"
        f" {self._model!r}; {remedy}"
      ) from None  # the error holds the request, and so the key
    status = error.status_code
    if status == 400 and error.code in _FILTERED:
      return self._failure("refusal", error.message)
    return self._failure(
      f"http {status}", error.message, rejected=status in _REJECTED
    )

  def _failure(
    self, reason: str, detail: object, *, rejected: bool = False
  ) -> asking.Failure:
    return asking.Failure(reason, self._censored(str(detail))[:1000], rejected)

  def _censored(self, text: str) -> str:
    """What a server says may quote the key, which no file may hold.

    Answers too, before anything is read in them: they are written to files
    that are passed on, and read again there, which must give the same.
    """
    for secret in self._secrets:
      text = text.replace(secret, "***")
    return text


def data_url(image: Image.Image, lossless: bool) -> str:
  """The picture in a URL: PNG where it must be lossless, else JPEG."""
  kind = "png" if lossless else "jpeg"
  encoded = io.BytesIO()
  # A PNG packed harder is hardly smaller, and takes three times as long.
  image.save(encoded, kind, quality=92, compress_level=1)
  text = base64.b64encode(encoded.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{text}"


def without_secrets(url: str) -> str:
  """The URL without user, password, query and fragment.

  Raises:
    Unusable: it is none.
  """
  try:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname, parts.port
  except ValueError:
    host, port = None, None
  if not host or parts.scheme not in ("http", "https"):
    raise asking.Unusable(
      "the address of the endpoint: got what is no URL, expected one like"
      " http://HOST:8000/v1"
    )
  host = f"[{host}]" if ":" in host else host
  where = host if port is None else f"{host}:{port}"
  return urllib.parse.urlunsplit((parts.scheme, where, parts.path, "", ""))


def _content(request: asking.Request) -> list[dict[str, Any]]:
  urls = [data_url(image, request.lossless) for image in request.images]
  pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
  return [*pictures, {"type": "text", "text": request.prompt}]


def _answer(completion: Any) -> asking.Answer | asking.Failure:
  """Of a `ChatCompletion`, whose fields the client does not check."""
  try:
    choice = completion.choices[0]
    text = choice.message.content or ""
    refusal = getattr(choice.message, "refusal", None)
    finish = choice.finish_reason
  except (AttributeError, IndexError, KeyError, TypeError):
    return asking.Failure("malformed answer", str(completion)[:200])
  if refusal or finish == "content_filter":
    return asking.Failure("refusal", str(refusal or "content filter"))
  if not isinstance(text, str):
    return asking.Failure("malformed answer", str(text)[:200])
  return asking.Answer(text, complete=finish != "length")


def _secrets(url: str) -> list[str]:
  parts = urllib.parse.urlsplit(url)
  found = [os.environ.get("OPENAI_API_KEY"), parts.password, parts.query]
  return [s for s in found if s and len(s) >= _SHORTEST_SECRET]


def _bounded_client(openai: Any, seconds: float, max_bytes: int) -> Any:
  """An HTTP client that gives up replies too long in bytes or in coming."""

  class Bounded(openai.DefaultAsyncHttpxClient):
    async def send(self, request: Any, *, stream: bool = False, **options: Any):
      response = await super().send(request, stream=True, **options)
      try:
        body = await _read(response, request)
      finally:
        await response.aclose()
      # Unpacked already.
      headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-encoding", "transfer-encoding")
      }
      headers["content-length"] = str(len(body))
      return type(response)(
        response.status_code, headers=headers, content=body, request=request
      )

  async def _read(response: Any, request: Any) -> bytes:
    end = time.monotonic() + seconds
    body = bytearray()
    async for block in response.aiter_bytes():
      body += block
      if len(body) > max_bytes:
        # Of a kind that the client does not try again.
        raise openai.OpenAIError(f"got more than {max_bytes} bytes")
      if time.monotonic() > end:
        raise openai.APITimeoutError(request=request)
    return bytes(body)

  return Bounded(timeout=seconds)


def _client_library() -> Any:
  try:
    import openai  # in an extra: only who asks a server needs it
  except ImportError as error:
    raise asking.Unusable(
      "the openai client is not installed; install it with"
      " pip install -c constraints.txt openai"
    ) from error
  return openai
