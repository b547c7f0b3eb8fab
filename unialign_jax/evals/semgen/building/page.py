"""A page on this machine on which a person decides on prompts.

No scripts, no other hosts. A decision has to come from the page itself: it
carries a token, and the host has to be this machine's own name.
"""

import html
import http
import http.server
import pathlib
import secrets
import threading
import urllib.parse
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import texts as texts_lib

_MOST_BYTES = 2**18  # of a form
_PATIENCE = 30.0  # seconds for a client that says nothing
_HOSTS = ("127.0.0.1", "localhost")
DECIDED = ("accepted", "edited", "rejected")
_STYLE = """
body { font: 16px/1.4 sans-serif; max-width: 60em; margin: 1em auto; }
img { max-width: 100%; max-height: 24em; }
textarea { width: 100%; font: inherit; box-sizing: border-box; }
fieldset { margin: 0.5em 0; } .done { background: #eef6ee; }
"""
# A prompt as it stands, by image_id and field.
Current = Callable[[int, str], texts_lib.Text]


class Page:
  """Serves the page until `close`.

  Args:
    images: path of each photograph, by image_id.
    current: a prompt as it stands, by image_id and field.
    reviews: gets the decisions.
    reviewer: who decides.
    port: 0 for any that is free.

  Attributes:
    url: where it is.
  """

  def __init__(
    self,
    images: Mapping[int, pathlib.Path],
    current: Current,
    reviews: reviews_lib.Reviews,
    reviewer: str,
    port: int = 0,
  ):
    self._images = images
    self._current = current
    self._reviews = reviews
    self._reviewer = reviewer
    self._token = secrets.token_urlsafe(16)
    handler = type("Handler", (_Handler,), {"page": self})
    # A connection has a thread, so that one that says nothing holds up nobody;
    # what a request reads or decides on, it does alone: decisions are in order.
    self._http = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    self._http.daemon_threads = True
    self._mutex = threading.Lock()
    self.url = f"http://127.0.0.1:{self._http.server_port}/"

  def serve(self) -> None:
    """Answers requests until `close` is called from another thread."""
    self._http.serve_forever(poll_interval=0.05)

  def close(self) -> None:
    """Ends `serve` and frees the port; a decision under way is kept."""
    self._http.shutdown()
    self._http.server_close()
    with self._mutex:  # waits for it
      pass

  def image(self, image_id: int) -> pathlib.Path | None:
    return self._images.get(image_id)

  def next_open(self) -> int | None:
    """The first item with a prompt that nobody has decided on."""
    with self._mutex:
      for image_id in self._images:
        for group in dataset.GROUPS:
          if self._current(image_id, group.field).status not in DECIDED:
            return image_id
    return None

  def item(self, image_id: int) -> str:
    """The page of one photograph."""
    ids = list(self._images)
    place = ids.index(image_id)
    others = [
      f'<a href="/item/{ids[other]}">{word}</a>'
      for other, word in ((place - 1, "previous"), (place + 1, "next"))
      if 0 <= other < len(ids)
    ]
    with self._mutex:
      forms = [self._form(image_id, group) for group in dataset.GROUPS]
    body = [
      f"<p>{place + 1} of {len(ids)} | {' | '.join(others)} |"
      ' <a href="/">next open</a></p>',
      f'<img src="/image/{image_id}" alt="photograph {image_id}">',
      *forms,
    ]
    return _document(f"Photograph {image_id}", body)

  def decide(self, form: Mapping[str, Sequence[str]]) -> int:
    """Writes down what a form says; returns its image_id.

    Raises:
      ValueError: it says nothing that can be, or is about an older text.
      PermissionError: it is not from this page.
    """
    given = {name: values[0] for name, values in form.items()}
    if not secrets.compare_digest(given.get("token", ""), self._token):
      raise PermissionError("the form is not of this page; load it again")
    image_id, field = int(given["image_id"]), given["field"]
    if image_id not in self._images:
      raise ValueError(f"got image_id {image_id}, expected one of the set")
    new = " ".join(given.get("new", "").split())
    decision = given.get("decision", "")
    with self._mutex:
      text = self._current(image_id, field).text
      if given.get("seen", "").split() != text.split():
        raise ValueError("the text has changed since; load the page again")
      self._reviews.add(
        reviews_lib.Decision(
          image_id=image_id,
          field=field,
          text=text,
          decision=decision,
          new=new if decision == "edit" else "",
          comment=given.get("comment", "").strip(),
          reviewer=self._reviewer,
        )
      )
    return image_id

  def _form(self, image_id: int, group: dataset.Group) -> str:
    found = self._current(image_id, group.field)
    text, status = found.text, found.status
    shown = html.escape(text)
    kind = "done" if status in DECIDED else ""
    buttons = " ".join(
      f'<button name="decision" value="{name}">{name}</button>'
      for name in reviews_lib.DECISIONS
    )
    return f"""
<form method="post" action="/decide"><fieldset class="{kind}">
<legend>{group.name}: {html.escape(status)}</legend>
<input type="hidden" name="token" value="{self._token}">
<input type="hidden" name="image_id" value="{image_id}">
<input type="hidden" name="field" value="{group.field}">
<input type="hidden" name="seen" value="{shown}">
<textarea name="new" rows="{3 + len(text) // 110}">{shown}</textarea>
<input name="comment" size="60" placeholder="why rejected">
{buttons}</fieldset></form>"""


class _Handler(http.server.BaseHTTPRequestHandler):
  page: Page
  timeout = _PATIENCE

  def do_GET(self) -> None:
    if not self._is_at_home():
      return
    name, _, number = self.path.strip("/").partition("/")
    if not name:
      self._redirect(self.page.next_open())
    elif name == "image" and (path := self._image(number)):
      self._send(path.read_bytes(), _kind(path))
    elif name == "item" and self._image(number):
      self._send(self.page.item(int(number)).encode())
    elif name == "done":
      self._send(
        _document("Done", ["<p>Every prompt is decided.</p>"]).encode()
      )
    else:
      self.send_error(http.HTTPStatus.NOT_FOUND)

  def do_POST(self) -> None:
    if not self._is_at_home():
      return
    try:
      size = int(self.headers.get("content-length", 0))
      if not 0 < size <= _MOST_BYTES:
        raise ValueError(f"got a form of {size} bytes")
      text = self.rfile.read(size).decode()
      image_id = self.page.decide(urllib.parse.parse_qs(text))
    except PermissionError as error:
      self.send_error(http.HTTPStatus.FORBIDDEN, explain=str(error))
    except (ValueError, KeyError) as error:
      self.send_error(http.HTTPStatus.BAD_REQUEST, explain=str(error))
    else:
      self._redirect(image_id)

  def log_message(self, *args: Any) -> None:
    """Says nothing."""

  def _is_at_home(self) -> bool:
    """Refuses names of other hosts that were made to point here."""
    host = self.headers.get("host", "").rpartition(":")[0]
    if host not in _HOSTS:
      self.send_error(http.HTTPStatus.FORBIDDEN)
    return host in _HOSTS

  def _image(self, number: str) -> pathlib.Path | None:
    return self.page.image(int(number)) if number.isdecimal() else None

  def _redirect(self, image_id: int | None) -> None:
    self.send_response(http.HTTPStatus.SEE_OTHER)
    where = "/done" if image_id is None else f"/item/{image_id}"
    self.send_header("location", where)
    self.send_header("content-length", "0")
    self.end_headers()

  def _send(self, data: bytes, kind: str = "text/html; charset=utf-8") -> None:
    self.send_response(http.HTTPStatus.OK)
    self.send_header("content-type", kind)
    self.send_header("content-length", str(len(data)))
    self.send_header("cache-control", "no-store")
    self.send_header(
      "content-security-policy",
      "default-src 'none'; img-src 'self'; style-src 'unsafe-inline';"
      " form-action 'self'; frame-ancestors 'none'",
    )
    self.end_headers()
    self.wfile.write(data)


def _kind(path: pathlib.Path) -> str:
  suffix = path.suffix.lower().lstrip(".")
  return f"image/{'jpeg' if suffix == 'jpg' else suffix}"


def _document(title: str, body: Sequence[str]) -> str:
  return (
    f'<!doctype html><html lang="en"><meta charset="utf-8">'
    f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    f"<body>{''.join(body)}</body></html>"
  )
