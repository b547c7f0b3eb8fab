"""A server in a thread, in front of a model whose answers are known."""

import asyncio
import base64
import contextlib
import dataclasses
import functools
import io
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import numpy as np
import openai
import uvicorn
from PIL import Image

from unialign_jax.features import encoders
from unialign_jax.serving import app as app_lib
from unialign_jax.serving import batching
from unialign_jax.serving import engine as engine_lib
from unialign_jax.serving import guard
from unialign_jax.serving import policy as policy_lib
from unialign_jax.serving import server as server_lib
from unialign_jax.use import loading
from unialign_jax.use import requests
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import texts as texts_lib

NAME = "stand-in"
SIDE = 32


class Model:
  """Says what it was asked: `shade SHADE: QUESTION`, the mean of the picture.

  Its pictures have the seed in their first pixel.
  """

  def __init__(self, texts: texts_lib.Texts):
    self._texts = texts
    self.calls: list[tuple[Any, list[Any]]] = []
    self.may_go_on = threading.Event()
    self.may_go_on.set()
    self.fails_with: Exception | None = None

  def run(self, key: Any, rows: list[Any]) -> list[Any]:
    self.calls.append((key, list(rows)))
    assert self.may_go_on.wait(20)
    if self.fails_with is not None:
      raise self.fails_with
    if isinstance(key, engine_lib.Write):
      return [self._written(row) for row in rows]
    return [_picture(key.settings.size, row.seed) for row in rows]

  def _written(self, row: Any) -> requests.Written:
    shade = round(float(np.asarray(row.picture).mean()))
    text = f"shade {shade}: {row.question}"
    return requests.Written(
      text=text,
      ids=tuple(self._texts._encoder.tokenizer(text)["input_ids"][:-1]),
      num_given=7,
      is_complete=True,
    )


def _picture(side: int, seed: int) -> Image.Image:
  pixels = np.zeros((side, side, 3), np.uint8)
  pixels[0, 0] = seed % 256
  return Image.fromarray(pixels)


def texts() -> texts_lib.Texts:
  """The shipped tokenizer, with room for 24 tokens."""
  weights = loading.place(loading.SHIPPED)
  encoder = encoders.TextEncoder.load(
    f"{weights}/text_encoder_3", f"{weights}/tokenizer_3"
  )
  return texts_lib.Texts(encoder, 24, encode=None)


POLICY = policy_lib.Policy(
  name=NAME,
  framing="crop",
  image=settings_lib.ImageSettings(
    size=SIDE, steps=4, guidance=2.0, shift=1.0, solver="euler"
  ),
  text=settings_lib.TextSettings(
    steps=24, schedule="ancestral", temperature=0.3
  ),
  several_images="refuse",
  truncate=False,
  answer_tokens=6,
  max_pixels=10_000,
  read_side=SIDE,
  unit=16,
  max_side=64,
  max_steps=10,
  max_pictures=4,
  max_settings=4,
  timeout=20.0,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
  """A server while it runs."""

  url: str
  model: Model
  line: batching.Batcher

  @property
  def port(self) -> int:
    return int(self.url.rsplit(":", 1)[1].split("/")[0])

  def client(self, key: str = "none") -> openai.OpenAI:
    return _client(self.url, key)


@functools.cache
def _client(url: str, key: str) -> openai.OpenAI:
  return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20)


@contextlib.contextmanager
def running(
  tokenizer: texts_lib.Texts,
  *,
  line: dict[str, Any] | None = None,
  guarded: dict[str, Any] | None = None,
  **policy: Any,
) -> Iterator[Running]:
  """Serves on a free port of the loopback.

  Args:
    tokenizer: of `texts`.
    line: arguments of `Batcher`.
    guarded: arguments of `Guard`.
    **policy: fields of `Policy`.
  """
  model = Model(tokenizer)
  batcher = batching.Batcher(
    model.run,
    **{"batch_size": 8, "window": 0.0, "max_waiting": 16, **(line or {})},
  )
  api = app_lib.Api(
    batcher, tokenizer.apart(), dataclasses.replace(POLICY, **policy), 1
  )
  limits = {"is_local": True, "key": None, "max_bytes": 100_000}
  limits |= {"max_requests": 32, "body_seconds": 10.0}
  app = guard.Guard(app_lib.build(api), **limits | (guarded or {}))
  listener = server_lib.listen("127.0.0.1", 0)
  server = uvicorn.Server(
    uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
  )

  async def serve() -> None:
    served = asyncio.create_task(batcher.run())
    await server.serve(sockets=[listener])
    batcher.close()
    await served

  thread = threading.Thread(target=lambda: asyncio.run(serve()))
  thread.start()
  try:
    yield Running(url=server_lib.url(listener), model=model, line=batcher)
  finally:
    model.may_go_on.set()
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@contextlib.contextmanager
def threads(*works: Callable[[], Any]) -> Iterator[list[Any]]:
  """Runs all at once; their results are there at the end."""
  with futures.ThreadPoolExecutor(len(works)) as pool:
    begun = [pool.submit(work) for work in works]
    results: list[Any] = []
    yield results
    results += [one.result() for one in begun]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
  """Until something is so."""
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, "waited too long"
    time.sleep(0.005)


def png(shade: int, side: int = SIDE) -> bytes:
  """A grey square."""
  file = io.BytesIO()
  Image.new("RGB", (side, side), (shade,) * 3).save(file, "PNG")
  return file.getvalue()


def uri(data: bytes) -> str:
  return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def shown(*shades: int, text: str = "") -> list[dict[str, Any]]:
  """A message with pictures, and a question unless it is empty."""
  parts: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": uri(png(shade))}}
    for shade in shades
  ]
  if text:
    parts.append({"type": "text", "text": text})
  return [{"role": "user", "content": parts}]
