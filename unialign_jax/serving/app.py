"""The routes: requests to rows of the batcher, and results to replies."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable
from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any

from starlette import applications
from starlette import concurrency
from starlette import exceptions
from starlette import requests as http
from starlette import responses
from starlette import routing

from unialign_jax.serving import batching
from unialign_jax.serving import bodies
from unialign_jax.serving import chat
from unialign_jax.serving import completion
from unialign_jax.serving import errors
from unialign_jax.serving import images
from unialign_jax.serving import policy as policy_lib
from unialign_jax.use import texts as texts_lib

_log = logging.getLogger(__name__)
_DECODERS = 4  # pictures in full at once: these are what takes memory
_GONE = 499  # nobody is there to read it


class Api:
  """What the routes do.

  Args:
    batcher: in front of the model.
    texts: its tokenizer, for this thread alone.
    policy: of this server.
    created: when the model was loaded, in seconds since 1970.
  """

  def __init__(
    self,
    batcher: batching.Batcher,
    texts: texts_lib.Texts,
    policy: policy_lib.Policy,
    created: int,
  ):
    self._batcher = batcher
    self._texts = texts
    self._policy = policy
    self._created = created
    self._decoding = asyncio.Semaphore(_DECODERS)

  async def chat(self, request: http.Request) -> responses.Response:
    """POST /v1/chat/completions"""
    values = await bodies.document(request)
    asked = chat.read(values, self._policy, self._texts)
    async with self._decoding:
      shown = await concurrency.run_in_threadpool(
        chat.picture, asked, self._policy
      )
    writing = chat.writing(asked, shown)
    del values  # large, and the line may be long
    asked = dataclasses.replace(asked, urls=())
    (written,) = await self._results(request, asked.key, [writing])
    made = chat.reply(asked, written, self._policy, self._texts)
    if not asked.is_stream:
      return responses.JSONResponse(made)
    return responses.StreamingResponse(
      completion.events(made, asked.has_usage), media_type="text/event-stream"
    )

  async def generate(self, request: http.Request) -> responses.Response:
    """POST /v1/images/generations"""
    values = await bodies.document(request)
    asked = images.read(values, self._policy, self._texts, is_form=False)
    drawn = await self._results(request, asked.key(0), asked.drawings())
    return await self._pictures(asked, drawn, "generate")

  async def edit(self, request: http.Request) -> responses.Response:
    """POST /v1/images/edits"""
    values, files = await bodies.form(request)
    asked = images.read(values, self._policy, self._texts, is_form=True)
    async with self._decoding:
      shown = await concurrency.run_in_threadpool(
        images.conditions, files, asked, self._policy
      )
    del files
    drawn = await self._results(
      request, asked.key(len(shown)), asked.drawings(shown)
    )
    task = "edit" if len(shown) == 1 else "personalise"
    return await self._pictures(asked, drawn, task)

  async def models(self, request: http.Request) -> responses.Response:
    """GET /v1/models"""
    return responses.JSONResponse({"object": "list", "data": [self._model()]})

  async def model(self, request: http.Request) -> responses.Response:
    """GET /v1/models/NAME"""
    chat.check_model(request.path_params["name"], self._policy.name)
    return responses.JSONResponse(self._model())

  async def health(self, request: http.Request) -> responses.Response:
    """GET /health"""
    line = self._batcher
    state = "stopping" if line.is_closed else "ok"
    return responses.JSONResponse(
      {
        "status": state,
        "waiting": line.waiting,
        "running": line.running,
        "batches": line.counts.batches,
        "rows": line.counts.rows,
        "refused": line.counts.refused,
      },
      503 if line.is_closed else 200,
    )

  def _model(self) -> dict[str, Any]:
    return {
      "id": self._policy.name,
      "object": "model",
      "created": self._created,
      "owned_by": "unialign_jax",
    }

  async def _pictures(
    self, asked: images.Asked, drawn: Sequence[Any], task: str
  ) -> responses.Response:
    made = await concurrency.run_in_threadpool(
      images.reply, asked, drawn, task=task, model=self._policy.name
    )
    return responses.JSONResponse(made)

  async def _results(
    self, request: http.Request, key: Hashable, rows: Sequence[Any]
  ) -> list[Any]:
    """What the model makes of rows, unless nobody waits for it any more.

    Raises:
      errors.ApiError: no room, no time, the server ends, or the model cannot.
      http.ClientDisconnect: the client has gone.
    """
    try:
      async with asyncio.timeout(self._policy.timeout):
        return await _while_there(request, self._batcher.submit(key, rows))
    except TimeoutError:
      raise errors.ApiError(
        504,
        f"got no result in {self._policy.timeout:g} s; ask for less, or later.",
        code="timeout",
      ) from None
    except batching.Full as error:
      raise errors.ApiError(
        429,
        "got more requests than may wait; try again later.",
        code="queue_full",
        retry_after=error.retry_after,
      ) from None
    except batching.Closed:
      raise errors.ApiError(
        503, "the server is about to end.", code="stopping", retry_after=5
      ) from None
    except ValueError as error:
      _log.warning("refused by the model: %s", error)
      raise errors.bad(str(error)[:500]) from None


def build(api: Api) -> applications.Starlette:
  """The ASGI application."""

  def route(path: str, method: str, endpoint: Any) -> routing.Route:
    return routing.Route(path, endpoint, methods=[method])

  return applications.Starlette(
    routes=[
      route("/v1/chat/completions", "POST", api.chat),
      route("/v1/images/generations", "POST", api.generate),
      route("/v1/images/edits", "POST", api.edit),
      route("/v1/models", "GET", api.models),
      route("/v1/models/{name:path}", "GET", api.model),
      route("/health", "GET", api.health),
    ],
    exception_handlers={
      errors.ApiError: _told,
      exceptions.HTTPException: _told_by_status,
      http.ClientDisconnect: _gone,
      Exception: _broken,
    },
  )


async def _while_there(
  request: http.Request, work: Awaitable[list[Any]]
) -> list[Any]:
  """The result of `work`, which is cancelled once the client has gone."""
  doing = asyncio.ensure_future(work)
  leaving = asyncio.ensure_future(_until_gone(request))
  try:
    await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not doing.done():
      raise http.ClientDisconnect
    return doing.result()
  finally:
    for task in (doing, leaving):
      task.cancel()
    # So that both have cleaned up, and no exception is left unseen.
    await asyncio.gather(doing, leaving, return_exceptions=True)


async def _until_gone(request: http.Request) -> None:
  while (await request.receive())["type"] != "http.disconnect":
    pass


async def _told(
  request: http.Request, error: errors.ApiError
) -> responses.Response:
  return error.response()


async def _told_by_status(
  request: http.Request, error: exceptions.HTTPException
) -> responses.Response:
  """What the framework refuses: no such route, another method, a bad form."""
  refused = errors.ApiError(error.status_code, str(error.detail))
  reply = refused.response()
  reply.headers.update(error.headers or {})
  return reply


async def _gone(
  request: http.Request, error: http.ClientDisconnect
) -> responses.Response:
  _log.info("%s: the client has gone", request.url.path)
  return responses.Response(status_code=_GONE)


async def _broken(request: http.Request, error: Exception) -> Any:
  """The particulars are in the log, where they are nobody else's."""
  return errors.ApiError(
    500, "the server could not do this; its log has more."
  ).response()
