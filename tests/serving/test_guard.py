"""What a server lets in, how much of it, how long, and what errors tell."""

import http.client
import json
import socket
import time
from typing import Any

import openai
import pytest

from tests.serving import stand_in
from unialign_jax.serving import guard
from unialign_jax.use import texts as texts_lib


def _send(
  server: stand_in.Running,
  method: str,
  path: str,
  body: bytes | None = None,
  **headers: str,
) -> tuple[int, Any, http.client.HTTPMessage]:
  """Status, JSON and headers of a request, as it is."""
  line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
  try:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    line.request(method, path, body, named)
    reply = line.getresponse()
    return reply.status, json.loads(reply.read() or b"null"), reply.headers
  finally:
    line.close()


def _chat(text: str = "what?", **fields: Any) -> bytes:
  request = {"model": stand_in.NAME, "messages": stand_in.shown(5, text=text)}
  return json.dumps(request | fields).encode()


_JSON = {"content_type": "application/json"}
_CHAT = ("POST", "/v1/chat/completions")
_DRAW = ("POST", "/v1/images/generations")


def test_models_and_health(server: stand_in.Running):
  (model,) = server.client().models.list().data
  assert model.id == stand_in.NAME and model.owned_by == "unialign_jax"
  assert server.client().models.retrieve(stand_in.NAME).id == stand_in.NAME
  with pytest.raises(openai.NotFoundError):
    server.client().models.retrieve("other")
  status, told, _ = _send(server, "GET", "/health")
  assert status == 200 and told["status"] == "ok" and told["waiting"] == 0


@pytest.mark.parametrize(
  ("request_", "status"),
  [
    (("GET", "/v1/other"), 404),
    (("GET", "/v1/chat/completions"), 405),
    ((*_CHAT, _chat()), 415),
    ((*_CHAT, b"{"), 400),
    ((*_CHAT, b"[]"), 400),
    ((*_CHAT, b'{"a": 1, "a": 2}'), 400),
    ((*_CHAT, b'{"temperature": NaN}'), 400),
    ((*_CHAT, b'{"messages":' + b"[" * 10_000), 400),
    (("POST", "/v1/images/edits", b"{}"), 415),
    ((*_CHAT, _chat(temperature=int("9" * 400))), 400),
    ((*_DRAW, b'{"prompt": "a", "guidance": %s}' % (b"9" * 400)), 400),
    ((*_DRAW, b'{"prompt": "a", "guidance": 1e999}'), 400),
    ((*_DRAW, b'{"prompt": "a", "\\ud800": 1}'), 400),
    ((*_DRAW, b'{"prompt": "a \\uD800"}'), 400),
    ((*_DRAW, b'{"prompt": "a", "negative_prompt": "\\udfff"}'), 400),
    ((*_DRAW, b'{"prompt": "a \xed\xa0\x80"}'), 400),
    ((*_DRAW, '{"prompt": "\\ud800"}'.encode("utf-16")), 400),
    ((*_CHAT, _chat("what \ud800?")), 400),
  ],
)
def test_errors_have_one_shape(
  server: stand_in.Running, request_: Any, status: int
):
  headers = {} if status == 415 and request_[2] == _chat() else _JSON
  got, told, _ = _send(server, *request_, **headers)
  assert got == status, told
  error = told["error"]
  assert set(error) == {"message", "type", "param", "code"}
  assert error["message"] and "_error" in error["type"]


def test_a_broken_form(server: stand_in.Running):
  kind = {"content_type": "multipart/form-data; boundary=x"}
  path = "/v1/images/edits"
  for body in (b"nothing", b"--x\r\n\r\n", b""):
    status, told, _ = _send(server, "POST", path, body, **kind)
    assert status == 400 and told["error"]["message"], body
  many = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n1\r\n' % k
    for k in range(50)
  )
  status, told, _ = _send(server, "POST", path, many + b"--x--\r\n", **kind)
  assert status == 400 and "Too many fields" in told["error"]["message"]


def test_a_form_in_another_charset(server: stand_in.Running):
  """Some bring half a surrogate pair, in a text or in the name of a field."""
  for charset, name, value, told_of in (
    ("unicode_escape", b"prompt", b"a \\ud800", "prompt: got half"),
    ("unicode_escape", b"\\ud800", b"a", "ud800: got half"),
    ("unicode_escape", b'\\ud800"; filename="b', b"a", "ud800: got half"),
    ("undefined", b"prompt", b"a", "expected UTF-8"),
  ):
    body = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    status, told, _ = _send(
      server,
      *("POST", "/v1/images/edits"),
      body % (name, value) + b"--x--\r\n",
      content_type=kind,
    )
    assert status == 400, (charset, name, told)
    assert told_of in told["error"]["message"]


def test_whole_surrogate_pairs_are_characters(server: stand_in.Running):
  body = _chat("\U0001f600\\ud800")  # and a backslash before letters is none
  assert b"\\ud83d\\ude00\\\\ud800" in body
  assert _send(server, *_CHAT, body, **_JSON)[0] == 200
  ((_, (row,)),) = server.model.calls
  assert row.question == "\U0001f600\\ud800"


def test_the_key(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer, guarded={"key": "sesame ü"}) as server:
    key = "sesame ü".encode().decode("latin-1")  # as bytes go
    for value in ("", "Bearer ", "x", f"Basic {key}", f"Bearer {key}x"):
      header = {"authorization": value} if value else {}
      status, told, headers = _send(server, *_CHAT, _chat(), **_JSON, **header)
      assert status == 401 and told["error"]["code"] == "invalid_api_key"
      assert headers["www-authenticate"] == "Bearer"
      assert "sesame" not in json.dumps(told)
    with pytest.raises(openai.AuthenticationError):
      server.client("sesam").models.list()
    right = {"authorization": f"Bearer {key}"}
    assert _send(server, "GET", "/v1/models", **right)[0] == 200
    assert _send(server, "GET", "/health")[0] == 200
    assert not server.model.calls


def test_names_and_pages_of_others(
  server: stand_in.Running, tokenizer: texts_lib.Texts
):
  own = f"127.0.0.1:{server.port}"
  for headers, status in (
    ({"host": "evil.example"}, 403),
    ({"host": f"evil.example:{server.port}"}, 403),
    ({"host": "[bad"}, 403),
    ({"host": f"localhost:{server.port}"}, 200),
    ({"host": f"[::1]:{server.port}"}, 200),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": f"http://{own}", "host": own}, 200),
  ):
    assert _send(server, "GET", "/health", **headers)[0] == status, headers
  # A server for other machines is called by names it cannot know.
  with stand_in.running(tokenizer, guarded={"is_local": False}) as server:
    assert _send(server, "GET", "/health", host="a.example")[0] == 200
    assert _send(server, "GET", "/health", origin="http://b")[0] == 403


@pytest.mark.parametrize(
  ("host", "is_local"),
  [
    ("127.0.0.1", True),
    ("127.8.9.1", True),
    ("::1", True),
    ("localhost", True),
    ("0.0.0.0", False),
    ("192.168.0.1", False),
    ("localhost.evil.example", False),
    ("", False),
  ],
)
def test_what_is_this_machine_alone(host: str, is_local: bool):
  assert guard.is_loopback(host) == is_local


def test_a_body_that_is_too_long(server: stand_in.Running):
  for how in ("said", "in chunks"):
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    line.putrequest(*_CHAT)
    line.putheader("content-type", "application/json")
    if how == "said":
      line.putheader("content-length", "100001")
      line.endheaders()
    else:
      line.putheader("transfer-encoding", "chunked")
      line.endheaders()
      line.send(b"186a1\r\n" + b" " * 100_001 + b"\r\n")  # and no end
    reply = line.getresponse()
    assert reply.status == 413, how
    assert json.loads(reply.read())["error"]["code"] == "request_too_large"
    line.close()


def test_a_body_that_does_not_come(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer, guarded={"body_seconds": 0.3}) as server:
    start = time.monotonic()
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    line.putrequest(*_CHAT)
    line.putheader("content-type", "application/json")
    line.putheader("content-length", "100")
    line.endheaders()
    line.send(b"{")
    reply = line.getresponse()
    assert reply.status == 408 and time.monotonic() - start < 10
    line.close()
    # The time is that of the body, not of the model.
    server.model.may_go_on.clear()
    with stand_in.threads(
      lambda: _send(server, *_CHAT, _chat(), **_JSON)[0]
    ) as status:
      time.sleep(0.6)
      server.model.may_go_on.set()
    assert status == [200]


def test_too_many_at_once(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer, guarded={"max_requests": 2}) as server:
    server.model.may_go_on.clear()
    send = lambda: _send(server, *_CHAT, _chat(), **_JSON)[0]  # noqa: E731
    with stand_in.threads(send, send) as statuses:
      stand_in.wait_for(lambda: server.line.running + server.line.waiting == 2)
      status, told, headers = _send(server, *_CHAT, _chat(), **_JSON)
      assert status == 503 and told["error"]["code"] == "overloaded"
      assert int(headers["retry-after"]) >= 1
      assert _send(server, "GET", "/health")[0] == 200
      server.model.may_go_on.set()
    assert statuses == [200, 200]


def test_a_full_line(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer, line={"max_waiting": 1}) as server:
    server.model.may_go_on.clear()
    send = lambda: _send(server, *_CHAT, _chat(), **_JSON)[0]  # noqa: E731
    with stand_in.threads(send) as first:
      stand_in.wait_for(lambda: server.line.running == 1)
      with stand_in.threads(send) as second:
        stand_in.wait_for(lambda: server.line.waiting == 1)
        status, told, headers = _send(server, *_CHAT, _chat(), **_JSON)
        assert status == 429 and told["error"]["code"] == "queue_full"
        assert told["error"]["type"] == "rate_limit_error"
        assert 1 <= int(headers["retry-after"]) <= 60
        server.model.may_go_on.set()
    assert first == second == [200]
    assert _send(server, "GET", "/health")[1]["refused"] == 1


def test_who_leaves_is_not_served(server: stand_in.Running):
  server.model.may_go_on.clear()
  with stand_in.threads(lambda: _send(server, *_CHAT, _chat(), **_JSON)[0]):
    stand_in.wait_for(lambda: server.line.running == 1)
    line = socket.create_connection(("127.0.0.1", server.port))
    body = _chat("gone?")
    line.sendall(
      b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
      b"content-type: application/json\r\n"
      b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )
    stand_in.wait_for(lambda: server.line.waiting == 1)
    line.close()
    stand_in.wait_for(lambda: server.line.waiting == 0)
    server.model.may_go_on.set()
  asked = [row.question for _, rows in server.model.calls for row in rows]
  assert asked == ["what?"]


def test_what_takes_too_long(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer, timeout=0.3) as server:
    server.model.may_go_on.clear()
    status, told, _ = _send(server, *_CHAT, _chat(), **_JSON)
    assert status == 504 and told["error"]["code"] == "timeout"
    server.model.may_go_on.set()
    stand_in.wait_for(lambda: not server.line.running)
    assert _send(server, *_CHAT, _chat(), **_JSON)[0] == 200


def test_the_particulars_of_a_fault_stay_here(tokenizer: texts_lib.Texts):
  with stand_in.running(tokenizer) as server:
    server.model.fails_with = RuntimeError("secret path /elsewhere")
    status, told, _ = _send(server, *_CHAT, _chat(), **_JSON)
    assert status == 500 and told["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(told)
    server.model.fails_with = ValueError("guidance: got too much.")
    status, told, _ = _send(server, *_CHAT, _chat(), **_JSON)
    assert status == 400 and told["error"]["message"].startswith("guidance")
    server.model.fails_with = None
    assert _send(server, *_CHAT, _chat(), **_JSON)[0] == 200
