"""Judges behind a server on this machine, and in this process."""

import json
import logging
import time

import numpy as np
import pytest
from PIL import Image

from tests.evals.judge import fakes
from tests.vlm import server as server_lib
from unialign_jax.evals.judge import asking as judge_asking
from unialign_jax.evals.judge import flags
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import vlm_judge
from unialign_jax.vlm import asking as vlm_asking

pytest.importorskip("openai")
Reply = server_lib.Reply
GOOD = Reply(text='{"score": [7]}')
KEY = "sk-secret-0123"


@pytest.fixture(autouse=True)
def key(monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def judge_of():
  """Opens judges and closes them."""
  opened = []

  def open_one(server, **changes):
    settings = vlm_judge.Settings(**(dict(timeout=5.0, retries=2) | changes))
    opened.append(vlm_judge.at_endpoint(server.url, "tiny", settings))
    return opened[-1]

  yield open_one
  for judge in opened:
    judge.close()


def test_what_is_sent(judge_of):
  before = Image.effect_noise((40, 30), 90).convert("RGB")
  after = Image.new("L", (20, 10), 200)
  with server_lib.Server(lambda *_: GOOD) as server:
    judge = judge_of(server, max_tokens=99, seed=5)
    assert judge.ask("which?", [before, after]) == GOOD.text
    judge.ask("which?", [after], attempt=2)
  first, second = server.seen
  assert first.path == "/v1/chat/completions"
  assert first.authorization == f"Bearer {KEY}"
  content = first.body["messages"][0]["content"]
  assert [part["type"] for part in content] == ["image_url"] * 2 + ["text"]
  assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
  assert (np.asarray(first.images[0]) == np.asarray(before)).all()
  assert first.images[1].size == (20, 10)
  assert first.images[1].getpixel((0, 0)) == (200, 200, 200)
  assert first.prompt == "which?"
  sent = [
    {k: seen.body[k] for k in ("model", "temperature", "max_tokens", "seed")}
    for seen in (first, second)
  ]
  asked = {"model": "tiny", "max_tokens": 99}
  assert sent == [
    {**asked, "temperature": 0.0, "seed": 5},
    # Greedy decoding would bring the same useless reply again.
    {**asked, "temperature": 0.7, "seed": 7},
  ]


def test_a_run_has_many_requests_on_the_way(judge_of, tmp_path):
  def reply(seen, number):
    delay = 0.3 - 0.02 * number  # the first come back last
    return Reply(text=f'{{"score": [{seen.shade / 10}]}}', delay=delay)

  with server_lib.Server(reply) as server:
    judge = judge_of(server, concurrency=4)
    found = fakes.run(tmp_path / "j.jsonl", judge, range(12))
  assert found == [(n / 10,) for n in range(12)]
  assert server.most_at_once == 4


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("[7]", None),
    ("```json\n{'score': ['7']}\n```", None),
    ('Well. {"score": [7], "reasoning": "so"}', None),
    ("I am sorry, I cannot.", "refusal"),
    ('{"score": [70]}', "out of range"),
    ('{"score": [7, 7]}', "wrong count"),
    ("Seven.", "no scores"),
    ("", "empty"),
  ],
)
def test_reply_formats_over_the_wire(judge_of, tmp_path, text, reason):
  with server_lib.Server(lambda *_: Reply(text=text)) as server:
    judge = judge_of(server)
    (found,) = fakes.run(tmp_path / "j", judge, [1], attempts=2)
  if reason is None:
    assert found == (7.0,)
    assert len(server.seen) == 1
  else:
    assert found.reason == reason
    assert len(server.seen) == 2


def test_busy_broken_and_dropped_are_tried_again(judge_of):
  times = []

  def reply(seen, number):
    times.append(time.monotonic())
    busy = Reply(status=429, headers={"Retry-After": "1.5"}, body=b"{}")
    broken = Reply(status=502, body=b"bad gateway")
    return (busy, broken, Reply(drop=True), GOOD)[number]

  with server_lib.Server(reply) as server:
    assert judge_of(server, retries=3).ask("?", []) == GOOD.text
  assert times[1] - times[0] >= 1.5  # the client's own first pause is 0.5 s
  assert 0.7 < times[2] - times[1] < 3.0  # and its second 1 s
  assert times[3] - times[2] > times[2] - times[1]


def test_retries_are_bounded(judge_of):
  with server_lib.Server(lambda *_: Reply(drop=True)) as server:
    with pytest.raises(judge_lib.JudgeError, match="connection"):
      judge_of(server, retries=1).ask("?", [])
    assert len(server.seen) == 2


@pytest.mark.parametrize(
  ("reply", "reason"),
  [
    (Reply(text="late", delay=2.0), "timeout"),
    (Reply(status=500, body=b"{}"), "http 500"),
    (Reply(status=413, body=b"{}"), "http 413"),
    (Reply(body=b"<html>"), "malformed answer"),
    (Reply(body=b'{"choices": []}'), "malformed answer"),
    (Reply(body=b" " * (2**20 + 1)), "malformed answer .*more than 1048576"),
  ],
)
def test_what_brings_no_reply(judge_of, reply, reason):
  with server_lib.Server(lambda *_: reply) as server:
    judge = judge_of(server, retries=0, timeout=0.5)
    with pytest.raises(judge_lib.JudgeError, match=reason):
      judge.ask("?", [])
  assert len(server.seen) == 1


def test_a_content_filter_is_a_refusal(judge_of):
  reply = Reply(text="The", finish="content_filter")
  with (
    server_lib.Server(lambda *_: reply) as server,
    pytest.raises(judge_lib.JudgeRefused, match="content filter"),
  ):
    judge_of(server).ask("?", [])


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_content_filter_that_answers_400_is_a_refusal_too(
  judge_of, tmp_path, code
):
  """As Azure's and OpenAI's do; here of every question."""
  filtered = {"message": "The response was filtered", "code": code}
  reply = Reply(status=400, body=json.dumps({"error": filtered}).encode())
  with server_lib.Server(lambda *_: reply) as server:
    judge = judge_of(server)
    found = fakes.run(tmp_path / "j.jsonl", judge, range(12), attempts=1)
    assert {one.reason for one in found} == {"refusal"}
    assert "The response was filtered" in found[0].detail
    assert len(server.seen) == 12
    fakes.run(tmp_path / "j.jsonl", judge, range(12), attempts=1)
    assert len(server.seen) == 12
    # That is what 400 says with this code alone.
    other = Reply(status=401, body=reply.body)
  with (
    server_lib.Server(lambda *_: other) as server,
    pytest.raises(vlm_asking.Unusable),
  ):
    judge_of(server).ask("?", [])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_rejected_is_an_attempt(judge_of, tmp_path, status):
  """The judging ends, though every larger picture is too large."""
  rejected = Reply(status=status, body=b'{"error": {"message": "too large"}}')

  def reply(seen, number):
    return rejected if seen.shade >= 1 else GOOD

  path = tmp_path / "j.jsonl"
  with server_lib.Server(reply) as server:
    judge = judge_of(server, concurrency=1)
    found = fakes.run(path, judge, range(12), attempts=1)
    assert found[0] == (7.0,)
    assert {one.reason for one in found[1:]} == {"rejected"}
    assert f"http {status}" in found[1].detail
    assert "too large" in found[1].detail
    assert fakes.run(path, judge, range(12), attempts=1) == found
    assert len(server.seen) == 12


@pytest.mark.parametrize("status", [404, 429, 500])
def test_what_is_no_fault_of_the_question_is_no_attempt(
  judge_of, tmp_path, status
):
  body = b'{"error": {"message": "no", "code": "content_filter"}}'
  bad = Reply(status=status, body=body)

  def reply(seen, number):
    return bad if seen.shade >= 5 else GOOD

  error = vlm_asking.Unusable if status == 404 else judge_asking.JudgeLost
  with server_lib.Server(reply) as server:
    judge = judge_of(server, concurrency=1, retries=0)
    with pytest.raises(error, match=str(status)):
      fakes.run(tmp_path / "j.jsonl", judge, range(20))


def test_a_short_key_leaves_replies_as_they_are(
  judge_of, tmp_path, monkeypatch
):
  """Servers of one's own get keys like "1" and "EMPTY"."""
  monkeypatch.setenv("OPENAI_API_KEY", "1")
  reply = Reply(text='{"score": [1]}')
  with server_lib.Server(lambda *_: reply) as server:
    found = fakes.run(tmp_path / "j.jsonl", judge_of(server), [1])
  assert found == [(1.0,)]
  (line,) = fakes.lines(tmp_path / "j.jsonl")
  assert line["reply"] == reply.text


def test_a_wrong_key_stops_at_once(judge_of, tmp_path):
  reply = Reply(status=401, body=b'{"error": {"message": "no"}}')
  with server_lib.Server(lambda *_: reply) as server:
    judge = judge_of(server, concurrency=1)
    with pytest.raises(vlm_asking.Unusable, match=r"401.*OPENAI_API_KEY"):
      fakes.run(tmp_path / "j.jsonl", judge, range(20))
  assert len(server.seen) <= 2


def test_the_key_is_nowhere(judge_of, tmp_path, caplog, monkeypatch):
  """Not even where the server sends it back."""
  monkeypatch.setenv("OPENAI_LOG", "debug")
  caplog.set_level(logging.DEBUG)
  quoted = f'{{"error": {{"message": "{KEY}"}}}}'.encode()
  bodies = [
    Reply(text=f"Your key is {KEY}."),
    Reply(status=400, body=quoted),
    Reply(body=f"{KEY}".encode()),
  ]
  path = tmp_path / "j.jsonl"
  for body in bodies:
    with server_lib.Server(lambda *_, body=body: body) as server:
      judge = judge_of(server, retries=0)
      fakes.run(path, judge, [1], attempts=1)
      assert KEY not in judge.identity + judge.libraries
  assert KEY not in path.read_text()
  assert path.read_text().count("***") >= 2
  assert KEY not in caplog.text
  refused = Reply(status=403, body=quoted)
  with (
    server_lib.Server(lambda *_: refused) as server,
    pytest.raises(vlm_asking.Unusable) as caught,
  ):
    judge_of(server).ask("?", [])
  assert KEY not in str(caught.value)


def test_identity():
  settings = vlm_judge.Settings(seed=3)
  url = "https://me:pass@host:8443/v1?token=abc#x"
  judge = vlm_judge.at_endpoint(url, "org/model", settings)
  assert judge.identity == (
    "org/model at https://host:8443/v1; temperature 0 (0.7 when asked again),"
    " seed 3, at most 512 tokens"
  )
  assert judge.libraries.startswith("openai ")
  assert judge.concurrency == 16
  judge.close()
  warm = vlm_judge.Settings(temperature=1.2)
  assert warm.decoding(1).temperature == 1.2
  assert "temperature 1.2," in str(warm)
  own = vlm_judge.Settings(temperature=None)
  assert own.decoding(1).temperature is None


def test_a_model_here(tmp_path):
  pytest.importorskip("torch")
  tiny_llava = pytest.importorskip("tests.vlm.tiny_llava")
  tiny_llava.write(tmp_path)
  settings = vlm_judge.Settings(max_tokens=6)
  judge = flags.open_judge(f"local:{tmp_path}", None, settings)
  rng = np.random.default_rng(0)
  pictures = [
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8))
    for _ in range(4)
  ]
  replies = [judge.ask("a b", pictures[:n]) for n in (1, 2, 4)]
  assert replies == [judge.ask("a b", pictures[:n]) for n in (1, 2, 4)]
  assert len(set(replies)) == 3  # it sees all of them
  assert judge.ask("a b", pictures[:1], attempt=1) == judge.ask(
    "a b", pictures[:1], attempt=1
  )
  assert judge.concurrency == 1
  assert judge.identity.startswith(f"{tmp_path} here; temperature 0")
  assert "transformers 5" in judge.libraries
  assert "torch 2" in judge.libraries
  judge.close()


@pytest.mark.parametrize(
  ("where", "model", "message"),
  [
    (None, "m", "without --judge"),
    ("http://host/v1", None, "--judge_model: got none"),
    ("local:folder", "m", "local: names the model"),
  ],
)
def test_flags_that_do_not_fit(where, model, message):
  with pytest.raises(ValueError, match=message):
    flags.open_judge(where, model)


def test_no_judge_is_none():
  assert flags.open_judge(None) is None


@pytest.mark.parametrize("url", ["host:8000/v1", "ftp://host", "http://", ""])
def test_what_is_no_address(url):
  with pytest.raises(vlm_asking.Unusable, match="expected one like"):
    vlm_judge.at_endpoint(url, "m", vlm_judge.Settings())
