"""A local server that speaks just enough of the OpenAI protocol."""

import base64
import dataclasses
import http.server
import io
import json
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
  """What the server says: a completion with `text`, or `body` as it is."""

  text: str | None = None
  finish: str = "stop"
  status: int = 200
  headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
  body: bytes | None = None
  delay: float = 0.0  # seconds before the reply
  drop: bool = False  # closes the connection instead
  trickle: float = 0.0  # seconds before each byte of the body

  def content(self) -> bytes:
    if self.body is not None:
      return self.body
    message = {"role": "assistant", "content": self.text}
    choice = {"index": 0, "message": message, "finish_reason": self.finish}
    fields = {"id": "1", "object": "chat.completion", "created": 0}
    return json.dumps(fields | {"model": "tiny", "choices": [choice]}).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
  """A request that came in."""

  body: Mapping[str, Any]
  path: str
  authorization: str
  images: tuple[Image.Image, ...]

  @property
  def image(self) -> Image.Image:
    return self.images[0]

  @property
  def prompt(self) -> str:
    return self.body["messages"][0]["content"][-1]["text"]

  @property
  def shade(self) -> int:
    """Of a picture of one colour."""
    return round(float(np.asarray(self.image).mean()))


class Server:
  """Answers each request as `reply` says; a context manager.

  Args:
    reply: Of the request and of how many came in before it.
  """

  def __init__(self, reply: Callable[[Seen, int], Reply]):
    self.seen: list[Seen] = []
    self.most_at_once = 0
    self._at_once = 0
    self._lock = threading.Lock()
    self._closing = threading.Event()
    self._reply = reply
    handler = type("Handler", (_Handler,), {"owner": self})
    self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    self._http.daemon_threads = True
    self._thread = threading.Thread(
      target=self._http.serve_forever, kwargs={"poll_interval": 0.02}
    )

  @property
  def url(self) -> str:
    return f"http://127.0.0.1:{self._http.server_port}/v1"

  def __enter__(self) -> "Server":
    self._thread.start()
    return self

  def __exit__(self, *exc_info: object) -> None:
    self._closing.set()
    self._http.shutdown()
    self._http.server_close()
    self._thread.join()

  def shades(self) -> list[int]:
    return sorted(seen.shade for seen in self.seen)

  def wait_for_requests(self, number: int, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while len(self.seen) < number:
      assert time.monotonic() < end, "waited too long for requests"
      time.sleep(0.02)

  def wait(self, seconds: float) -> None:
    """Less where the server ends before."""
    self._closing.wait(seconds)

  def answer(self, seen: Seen) -> Reply:
    with self._lock:
      number = len(self.seen)
      self.seen.append(seen)
      self._at_once += 1
      self.most_at_once = max(self.most_at_once, self._at_once)
    reply = self._reply(seen, number)
    self.wait(reply.delay)
    with self._lock:
      self._at_once -= 1
    return reply


class _Handler(http.server.BaseHTTPRequestHandler):
  owner: Server
  protocol_version = "HTTP/1.1"

  def do_POST(self) -> None:
    body = json.loads(self.rfile.read(int(self.headers["content-length"])))
    reply = self.owner.answer(
      Seen(
        body=body,
        path=self.path,
        authorization=self.headers.get("authorization", ""),
        images=tuple(map(_decoded, body["messages"][0]["content"][:-1])),
      )
    )
    if reply.drop:
      self.close_connection = True
      return
    content = reply.content()
    self.send_response(reply.status)
    for name, value in reply.headers.items():
      self.send_header(name, value)
    self.send_header("content-type", "application/json")
    self.send_header("content-length", str(len(content)))
    try:
      self.end_headers()
      if not reply.trickle:
        self.wfile.write(content)
      for number in range(len(content) if reply.trickle else 0):
        self.owner.wait(reply.trickle)
        self.wfile.write(content[number : number + 1])
    except (BrokenPipeError, ConnectionResetError):
      pass  # the client has given up, as some tests want

  def log_message(self, *args: object) -> None:
    """Says nothing."""


def _decoded(part: Mapping[str, Any]) -> Image.Image:
  data = part["image_url"]["url"].partition("base64,")[2]
  return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def shade_caption(shade: int) -> str:
  return f"A square of shade {shade}."


def tell_shade(seen: Seen, number: int) -> Reply:
  del number
  return Reply(text=f"The image shows a square of shade {seen.shade}.")
