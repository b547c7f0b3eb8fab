"""Judges that are vision-language models: behind an endpoint, or here."""

import asyncio
import dataclasses
import importlib.metadata
import threading
from collections.abc import Sequence

from PIL import Image

from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.vlm import asking
from unialign_jax.vlm import endpoint
from unialign_jax.vlm import local

# The same words from the same pictures give the same useless reply again.
_RETRY_TEMPERATURE = 0.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a judge is asked.

  Attributes:
    temperature: of the first attempt; None leaves it to the server, and then
      that of the others too. Attempts after the first are drawn at 0.7 or,
      where it is more, at this temperature.
    max_tokens: of a reply.
    seed: of the first attempt; each further one has the next.
    concurrency: requests at once; a model here answers one at a time.
    timeout: seconds to wait for a reply.
    retries: of a request whose reply got lost; pauses grow between them.
  """

  temperature: float | None = 0.0
  max_tokens: int = 512
  seed: int = 0
  concurrency: int = 16
  timeout: float = 120.0
  retries: int = 6

  def decoding(self, attempt: int) -> asking.Decoding:
    """Of one attempt."""
    temperature = self.temperature
    if attempt and temperature is not None:
      temperature = max(temperature, _RETRY_TEMPERATURE)
    return asking.Decoding(
      temperature=temperature,
      max_tokens=self.max_tokens,
      seed=self.seed + attempt,
    )

  def __str__(self) -> str:
    temperature = self.temperature
    if temperature is None:
      warmth = "the model's own"
    elif temperature < _RETRY_TEMPERATURE:
      warmth = f"{temperature:g} ({_RETRY_TEMPERATURE:g} when asked again)"
    else:
      warmth = f"{temperature:g}"
    return (
      f"temperature {warmth}, seed {self.seed},"
      f" at most {self.max_tokens} tokens"
    )


class VlmJudge:
  """Asks an `asking.Model`; see `judge.Judge`. `ask` may be called by threads.

  Args:
    model: which.
    name: what it is, without secrets.
    libraries: packages to name with their versions.
    settings: how it is asked.
  """

  def __init__(
    self,
    model: asking.Model,
    *,
    name: str,
    libraries: Sequence[str],
    settings: Settings,
  ):
    self.identity = f"{name}; {settings}"
    self.libraries = ", ".join(
      f"{library} {importlib.metadata.version(library)}"
      for library in libraries
    )
    self.concurrency = settings.concurrency
    self._model = model
    self._settings = settings
    self._loop = asyncio.new_event_loop()
    threading.Thread(target=self._loop.run_forever, daemon=True).start()

  def ask(
    self, prompt: str, images: Sequence[Image.Image], *, attempt: int = 0
  ) -> str:
    """See `judge.Judge`."""
    request = asking.Request(
      images=tuple(image.convert("RGB") for image in images),
      lossless=True,  # compression would add defects to those in question
      prompt=prompt,
    )
    coming = asyncio.run_coroutine_threadsafe(
      self._model.write([request], decoding=self._settings.decoding(attempt)),
      self._loop,
    )
    (result,) = coming.result()
    if isinstance(result, asking.Answer):
      return result.text
    message = f"{result.reason} ({result.detail})"
    if result.reason == "refusal":
      raise judge_lib.JudgeRefused(message)
    if result.rejected:
      raise judge_lib.JudgeRejected(message)
    raise judge_lib.JudgeError(message)

  def close(self) -> None:
    """Gives back connections and thread; it cannot be asked any more."""
    asyncio.run_coroutine_threadsafe(self._model.close(), self._loop).result()
    self._loop.call_soon_threadsafe(self._loop.stop)


def at_endpoint(url: str, model: str, settings: Settings) -> VlmJudge:
  """A judge behind a server that speaks the OpenAI protocol.

  Args:
    url: of the server, usually ending in /v1; the key is OPENAI_API_KEY.
    model: the name under which it serves the model.
    settings: how it is asked.

  Raises:
    Unusable: the client is not installed, or the URL is none.
  """
  asked = endpoint.Endpoint(
    url,
    model,
    decoding=settings.decoding(0),
    timeout=settings.timeout,
    retries=settings.retries,
  )
  return VlmJudge(
    asked,
    name=f"{model} at {asked.address}",
    libraries=["openai"],
    settings=settings,
  )


def here(path: str, settings: Settings) -> VlmJudge:
  """A judge in this process, with PyTorch, one question at a time.

  Args:
    path: folder or hub id of a model of transformers.
    settings: how it is asked.

  Raises:
    Unusable: PyTorch is not installed, or the model cannot be loaded.
  """
  settings = dataclasses.replace(settings, concurrency=1)
  asked = local.Local(path, decoding=settings.decoding(0), batch_size=1)
  return VlmJudge(
    asked,
    name=f"{path} here",
    libraries=["transformers", "torch"],
    settings=settings,
  )
