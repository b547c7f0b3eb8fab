"""The client against a real server on this machine."""

import asyncio
import gzip
import json
import subprocess
import sys
import time

import pytest

from tests.features.captioning import fakes
from tests.vlm import server as server_lib
from unialign_jax.vlm import asking
from unialign_jax.vlm import endpoint

Reply = server_lib.Reply
GOOD = Reply(text="A square.")
FILTERED = b'{"error": {"message": "filtered", "code": "content_filter"}}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def out(tmp_path):
  return tmp_path / "captions.jsonl"


def client(server, **changes):
  pytest.importorskip("openai")
  decoding = asking.Decoding(temperature=0.5, max_tokens=77, seed=3)
  options = dict(decoding=decoding, timeout=5.0, retries=2)
  return endpoint.Endpoint(server.url, fakes.MODEL, **(options | changes))


def test_what_is_sent(out, monkeypatch):
  monkeypatch.setenv("OPENAI_API_KEY", "secret")
  items = [fakes.raw(9), fakes.raw(200, task="perception")]
  with server_lib.Server(server_lib.tell_shade) as server:
    fakes.run(items, client(server), out, concurrency=1)
  photo, edge_map = server.seen
  assert photo.path == "/v1/chat/completions"
  assert photo.authorization == "Bearer secret"
  sent = dict(photo.body)
  assert len(sent.pop("messages")) == 1
  assert sent == {
    "model": "tiny",
    "temperature": 0.5,
    "max_tokens": 77,
    "seed": 3,
  }
  assert "as it is now" in photo.prompt
  assert (photo.image.format, photo.image.size) == ("JPEG", (16, 16))
  assert (edge_map.image.format, edge_map.shade) == ("PNG", 200)
  assert fakes.captions(out) == {
    "train/9": "A square of shade 9.",
    "train/200": "A square of shade 200.",
  }


@pytest.mark.parametrize("concurrency", [1, 4])
def test_requests_overlap_up_to_the_concurrency(out, concurrency):
  items = [fakes.raw(n) for n in range(12)]
  with server_lib.Server(lambda *_: Reply(text="A.", delay=0.2)) as server:
    fakes.run(items, client(server), out, concurrency=concurrency)
  assert server.most_at_once == concurrency
  assert server.shades() == list(range(12))


def test_retries_wait_as_long_as_the_server_asks(out):
  times = []

  def reply(seen, number):
    times.append(time.monotonic())
    busy = Reply(status=429, headers={"Retry-After": "2"}, body=b"{}")
    return (busy, Reply(status=503, body=b"{}"), GOOD)[number]

  with server_lib.Server(reply) as server:
    fakes.run([fakes.raw(1)], client(server), out)
  assert fakes.captions(out) == {"train/1": "A square."}
  assert times[1] - times[0] >= 2  # the client's own first pause is 0.5 s
  assert 0.3 < times[2] - times[1] < 2


@pytest.mark.parametrize(
  ("reply", "reason"),
  [
    (Reply(status=500, body=b"{}"), "http 500"),
    (Reply(status=429, body=b"{}"), "http 429"),
    (Reply(status=400, body=b'{"error": "too large"}'), "http 400"),
    (Reply(body=b"{"), "malformed answer"),
    (Reply(body=b"[]"), "malformed answer"),
    (Reply(body=b'{"choices": []}'), "malformed answer"),
    (Reply(body=b'{"choices": [{}]}'), "malformed answer"),
    (Reply(body=b'{"error": "none"}'), "malformed answer"),
    (Reply(text=None), "empty answer"),
    (Reply(text="A b", finish="content_filter"), "refusal"),
    (Reply(status=400, body=FILTERED), "refusal"),
    (Reply(status=400, body=b'{"error": {"code": ["a"]}}'), "http 400"),
    (Reply(status=500, body=FILTERED), "http 500"),
    (Reply(text="A b", finish="length"), "no full sentence fits"),
    (Reply(text="A.", delay=1.0), "timeout"),
  ],
)
def test_failures_by_reason(out, reply, reason):
  with server_lib.Server(lambda *_: reply) as server:
    model = client(server, retries=0, timeout=0.5)
    fakes.run([fakes.raw(1)], model, out)
  assert fakes.failures(out) == [("train/1", reason)]
  assert out.read_bytes() == b""
  assert len(server.seen) == 1


def test_a_timeout_is_tried_again(out):
  replies = [Reply(text="Late.", delay=1.0), GOOD]
  with server_lib.Server(lambda _, number: replies[number]) as server:
    fakes.run([fakes.raw(1)], client(server, timeout=0.5), out)
  assert fakes.captions(out) == {"train/1": "A square."}


def test_nobody_listens(out):
  with server_lib.Server(server_lib.tell_shade) as server:
    pass  # the port is free again
  fakes.run([fakes.raw(1)], client(server, retries=0), out)
  assert fakes.failures(out) == [("train/1", "connection")]


@pytest.mark.parametrize(
  ("status", "remedy"), [(401, "OPENAI_API_KEY"), (404, "name of the model")]
)
def test_what_every_request_would_get_stops_the_run(out, status, remedy):
  items = [fakes.raw(n) for n in range(20)]
  refused = Reply(status=status, body=b'{"error": "no"}')
  with (
    server_lib.Server(lambda *_: refused) as server,
    pytest.raises(asking.Unusable, match=f"HTTP {status}.*{remedy}"),
  ):
    fakes.run(items, client(server), out, concurrency=2)
  assert len(server.seen) <= 2


def test_the_client_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, "openai", None)
  with pytest.raises(asking.Unusable, match=r"pip install .* openai"):
    endpoint.Endpoint("http://x", "m", decoding=asking.Decoding())


_WORKER = """
import pathlib, sys
from tests.features.captioning import fakes
from unialign_jax.vlm import asking, endpoint
url, out = sys.argv[1:]
fakes.run(
  [fakes.raw(n) for n in range(40)],
  endpoint.Endpoint(url, fakes.MODEL, decoding=asking.Decoding()),
  pathlib.Path(out),
  concurrency=3,
)
"""


def test_killed_in_the_middle_and_run_again(out):
  pytest.importorskip("openai")

  def reply(seen, number):
    answer = server_lib.tell_shade(seen, number)
    # The requests after the eleventh are under way when the kill comes.
    delay = 30.0 if 11 <= number < 14 else 0.0
    return Reply(text=answer.text, delay=delay)

  with server_lib.Server(reply) as server:
    command = [sys.executable, "-c", _WORKER, server.url, str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
      try:
        wait_for(lambda: len(server.seen) == 14, process)
        wait_for(lambda: out.read_bytes().count(b"\n") == 11, process)
      finally:
        process.kill()
    before = fakes.captions(out)
    with out.open("ab") as file:
      file.write(b'{"source": "fake/ed')  # as if killed while it wrote
    counts = fakes.run([fakes.raw(n) for n in range(40)], client(server), out)
    assert counts == {"done before": 11, "captions written": 29}
    done = {int(key.removeprefix("train/")) for key in before}
    shades = server.shades()
    assert len(shades) == 40 + 3  # again: only what was under way
    assert all(shades.count(shade) == 1 for shade in done)
  assert fakes.captions(out) == {
    f"train/{n}": server_lib.shade_caption(n) for n in range(40)
  }


def wait_for(condition, process, seconds=60.0):
  end = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, "the run ended early"
    assert time.monotonic() < end, "waited too long"
    time.sleep(0.02)


def ask(server, requests=1, **options):
  async def all_of_them():
    model = client(server, **options)
    request = asking.Request(images=(), lossless=True, prompt="?")
    try:
      return [(await model.write([request]))[0] for _ in range(requests)]
    finally:
      await model.close()

  return asyncio.run(all_of_them())


def test_a_model_that_knows_the_limit_by_another_name():
  refused = {"message": "Unsupported parameter", "param": "max_tokens"}
  body = json.dumps({"error": refused}).encode()

  def reply(seen, number):
    del number
    return Reply(status=400, body=body) if "max_tokens" in seen.body else GOOD

  with server_lib.Server(reply) as server:
    answers = ask(server, requests=3)
  assert [answer.text for answer in answers] == ["A square."] * 3
  limits = [
    (seen.body.get("max_tokens"), seen.body.get("max_completion_tokens"))
    for seen in server.seen
  ]
  assert limits == [(77, None), (None, 77), (None, 77), (None, 77)]


def test_a_reply_that_is_packed_small_and_large_unpacked():
  packed = gzip.compress(b" " * 2**21)
  assert len(packed) < 2**12
  reply = Reply(body=packed, headers={"Content-Encoding": "gzip"})
  with server_lib.Server(lambda *_: reply) as server:
    (failure,) = ask(server)
  assert failure.reason == "malformed answer"
  assert "more than 1048576 bytes" in failure.detail
  assert len(server.seen) == 1


def test_a_packed_reply():
  packed = gzip.compress(GOOD.content())
  reply = Reply(body=packed, headers={"Content-Encoding": "gzip"})
  with server_lib.Server(lambda *_: reply) as server:
    (answer,) = ask(server)
  assert answer.text == "A square."


def test_a_reply_that_trickles_is_given_up():
  reply = Reply(body=GOOD.content(), trickle=0.3)
  with server_lib.Server(lambda *_: reply) as server:
    begin = time.monotonic()
    (failure,) = ask(server, timeout=0.6)
  assert failure.reason == "timeout"
  assert time.monotonic() - begin < 3


@pytest.mark.parametrize(
  ("url", "shown"),
  [
    ("http://a:b@host:1/v1/?key=c#d", "http://host:1/v1/"),
    ("https://host", "https://host"),
    ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
  ],
)
def test_what_is_shown_of_an_address(url, shown):
  assert endpoint.without_secrets(url) == shown
