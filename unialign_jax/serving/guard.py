"""What a request passes before anything of it is read into memory.

The right host, no page of another site, the key, a free place, a body that is
neither too long nor too slow.
"""

import asyncio
import hmac
import ipaddress
import urllib.parse
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers

from unialign_jax.serving import errors

_OPEN = ("/health",)  # without the key
_RETRY_AFTER = 1  # seconds
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]
_App = Callable[[dict[str, Any], _Receive, _Send], Awaitable[None]]


class Guard:
  """ASGI middleware.

  Args:
    app: what is guarded.
    is_local: whether the server listens to this machine alone; then a request
      must name this machine too, or a page that a browser here has open could
      reach the server under a name of its own (DNS rebinding).
    key: that clients must send; None for none.
    max_bytes: of a body.
    max_requests: at once.
    body_seconds: in which a body must have come.
  """

  def __init__(
    self,
    app: _App,
    *,
    is_local: bool,
    key: str | None,
    max_bytes: int,
    max_requests: int,
    body_seconds: float,
  ):
    self._app = app
    self._is_local = is_local
    self._key = None if key is None else key.encode()
    self._max_bytes = max_bytes
    self._max_requests = max_requests
    self._body_seconds = body_seconds
    self._num_requests = 0

  async def __call__(
    self, scope: dict[str, Any], receive: _Receive, send: _Send
  ) -> None:
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    try:
      self._check(scope["path"], Headers(scope=scope))
    except errors.ApiError as error:
      await error.response()(scope, receive, send)
      return
    self._num_requests += 1
    try:
      body = _Body(receive, self._max_bytes, self._body_seconds)
      await self._app(scope, body.receive, send)
    finally:
      self._num_requests -= 1

  def _check(self, path: str, headers: Headers) -> None:
    """Refuses what its head tells enough of.

    Raises:
      errors.ApiError: as soon as something is wrong.
    """
    host = headers.get("host", "")
    if self._is_local and not is_loopback(_hostname(host)):
      raise errors.ApiError(
        403,
        "host: got another name than this machine's own, expected localhost or"
        " 127.0.0.1.",
        code="invalid_host",
      )
    origin = headers.get("origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
      raise errors.ApiError(
        403,
        "origin: got a page of another site, expected none; this server answers"
        " programs.",
        code="invalid_origin",
      )
    if path in _OPEN:
      return
    if self._key is not None and not self._is_key(headers):
      raise errors.ApiError(
        401,
        "key: got none or a wrong one, expected the server's in the header"
        " Authorization: Bearer KEY.",
        code="invalid_api_key",
      )
    if self._num_requests >= self._max_requests:
      raise errors.ApiError(
        503,
        f"got more than {self._max_requests} requests at once; try again.",
        code="overloaded",
        retry_after=_RETRY_AFTER,
      )
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > self._max_bytes:
      raise _too_long(self._max_bytes)

  def _is_key(self, headers: Headers) -> bool:
    """Compared in a time that tells nothing of the key."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    is_equal = hmac.compare_digest(given.strip().encode("latin-1"), self._key)
    return scheme.lower() == "bearer" and is_equal


class _Body:
  """Counts a body as it comes."""

  def __init__(self, receive: _Receive, max_bytes: int, seconds: float):
    self._receive = receive
    self._left = max_bytes
    self._max_bytes = max_bytes
    self._seconds = seconds
    self._end: float | None = None
    self._is_whole = False

  async def receive(self) -> dict[str, Any]:
    """`receive` of ASGI.

    Raises:
      errors.ApiError: too long, or not there in time.
    """
    if self._is_whole:  # what comes now is the end of the connection
      return await self._receive()
    if self._end is None:
      self._end = asyncio.get_running_loop().time() + self._seconds
    try:
      async with asyncio.timeout_at(self._end):
        message = await self._receive()
    except TimeoutError:
      raise errors.ApiError(
        408,
        f"body: got only a part in {self._seconds:g} s, expected all of it.",
        code="timeout",
      ) from None
    self._left -= len(message.get("body", b""))
    if self._left < 0:
      raise _too_long(self._max_bytes)
    self._is_whole = not message.get("more_body", False)
    return message


def is_loopback(host: str) -> bool:
  """Whether a name or address means this machine alone."""
  if host.lower() in ("localhost", "localhost."):
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def _hostname(host: str) -> str:
  try:
    return urllib.parse.urlsplit(f"//{host}").hostname or ""
  except ValueError:
    return ""


def _too_long(max_bytes: int) -> errors.ApiError:
  return errors.ApiError(
    413,
    f"body: got more than {max_bytes} bytes, expected at most that; send"
    " smaller pictures.",
    code="request_too_large",
  )
