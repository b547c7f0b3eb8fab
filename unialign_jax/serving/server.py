"""Runs the application on a socket until a signal ends it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import uvicorn

from unialign_jax.serving import batching

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FORCED = 130  # as a shell has it after Ctrl-C
_BACKLOG = 128  # connections that the system holds


def listen(host: str, port: int) -> socket.socket:
  """A socket that listens; port 0 takes a free one.

  Raises:
    ValueError: an address or port that is not to be had.
  """
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  try:
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
  except OSError as error:
    raise ValueError(
      f"--host, --port: got {host} and {port}, which cannot be listened to"
      f" ({error}); choose others."
    ) from error


def url(listener: socket.socket) -> str:
  """What a client gives as its base URL."""
  host, port = listener.getsockname()[:2]
  host = f"[{host}]" if ":" in host else host
  return f"http://{host}:{port}/v1"


async def serve(
  app: Any,
  batcher: batching.Batcher,
  listener: socket.socket,
  *,
  patience: float,
) -> None:
  """Serves until the first SIGINT or SIGTERM, and ends what has begun.

  What only waits is refused then. A second signal ends the process at once.

  Args:
    app: ASGI application in front of `batcher`.
    batcher: the line of requests.
    listener: of `listen`.
    patience: seconds for what has begun, once it ends.

  Raises:
    Exception: what broke the line of requests.
  """
  config = uvicorn.Config(
    app,
    log_level="warning",
    access_log=False,
    lifespan="off",
    ws="none",
    http="h11",
    loop="asyncio",
    server_header=False,
    proxy_headers=False,
    timeout_graceful_shutdown=max(int(patience), 1),
  )
  server = _Server(config, batcher.close)
  line = asyncio.create_task(batcher.run())
  line.add_done_callback(lambda _: server.stop())  # it also ends if it breaks
  await server.serve(sockets=[listener])
  batcher.close()
  await line


class _Server(uvicorn.Server):
  """uvicorn's, which ends by our signals with status 0.

  Args:
    config: of uvicorn.
    on_stop: called as soon as it is to end.
  """

  def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]):
    super().__init__(config)
    self._on_stop = on_stop

  def stop(self) -> None:
    self.should_exit = True
    self._on_stop()

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Of uvicorn, which would raise the signals again at the end."""
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
      loop.add_signal_handler(name, self._signalled)
    try:
      yield
    finally:
      for name in _SIGNALS:
        loop.remove_signal_handler(name)

  def _signalled(self) -> None:
    if self.should_exit:
      os._exit(_FORCED)  # nothing else ends a thread that computes
    print("ending: what runs is finished, the rest refused", file=sys.stderr)
    self.stop()
