"""Keys stay in the environment: nothing that is written or said holds one."""

import json
import os
import pathlib
import subprocess
import sys
import traceback

import pytest

from tests.features.captioning import fakes
from tests.security import test_code
from tests.vlm import server as server_lib
from unialign_jax.shapes import weights
from unialign_jax.vlm import asking
from unialign_jax.vlm import endpoint

KEY = "sk-test-9f8e7d6c5b4a"
PASSWORD = "hunter2hunter2"
Reply = server_lib.Reply
QUOTED = f"Incorrect API key provided: {KEY} (password {PASSWORD})."
ERROR = json.dumps({"error": {"message": QUOTED, "code": KEY}}).encode()

REFUSED = (401, 403, 404)  # ends a run
REPLIES = {
  "a caption": Reply(text="A square."),
  "a caption that quotes it": Reply(text=f"A square. {QUOTED}"),
  "refused": Reply(status=401, body=ERROR),
  "forbidden": Reply(status=403, body=ERROR),
  "not found": Reply(status=404, body=ERROR),
  "bad request": Reply(status=400, body=ERROR),
  "broken": Reply(status=500, body=ERROR, headers={"x-note": KEY}),
  "no JSON": Reply(body=QUOTED.encode()),
  "no choices": Reply(body=ERROR),
  "dropped": Reply(drop=True),
}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "a.png").write_bytes(fakes.picture(10).data)
  return tmp_path / "data"


def recaption(
  root: pathlib.Path, url: str, *flags: str
) -> subprocess.CompletedProcess:
  command = [
    *(sys.executable, "-m", "unialign_jax.recaption", "--source=folder"),
    *(f"--root={root}", f"--out={root.parent / 'out' / 'captions.jsonl'}"),
    *(f"--endpoint={url}", "--model=tiny", "--retries=0", *flags),
    f"--tokenizer={weights.TOKENIZER}",
  ]
  environment = {"OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
  return subprocess.run(
    command,
    env=os.environ | environment | {"OPENAI_LOG": "debug"},
    capture_output=True,
    text=True,
    timeout=120,
  )


def everything(root: pathlib.Path, done: subprocess.CompletedProcess) -> str:
  """All that was printed, logged or written, names of files included."""
  files = [path for path in root.parent.rglob("*") if path.is_file()]
  texts = [path.read_bytes().decode("latin-1") for path in files]
  return "\n".join([*map(str, files), *texts, done.stdout, done.stderr])


@pytest.mark.parametrize(
  ("names", "words"),
  [
    (
      [name for name, reply in REPLIES.items() if reply.status not in REFUSED],
      "malformed answer",
    ),
    (["refused"], "HTTP 401"),
  ],
  ids=["failures", "refused"],
)
def test_no_key_in_what_a_run_leaves(root, names, words):
  """With all that there is to log."""
  pytest.importorskip("openai")
  for number in range(1, len(names)):
    data = fakes.picture(10 + number).data
    (root / f"{number}.png").write_bytes(data)
  replies = [REPLIES[name] for name in names]
  with server_lib.Server(lambda _, number: replies[number]) as server:
    url = server.url.replace("://", f"://user:{PASSWORD}@")
    done = recaption(root, url, "--concurrency=1", "--verbosity=1")
    assert len(server.seen) == len(names), done.stderr
  told = everything(root, done)
  assert words in told and "Incorrect API key provided: ***" in told
  assert KEY not in told
  assert PASSWORD not in told


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch):
  pytest.importorskip("openai")
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.setenv("OPENAI_API_KEY", KEY)
  return lambda server: endpoint.Endpoint(
    server.url, "tiny", decoding=asking.Decoding(), retries=0
  )


@pytest.mark.parametrize("name", ["forbidden", "not found"])
def test_no_key_in_the_error_that_ends_a_run(tmp_path, model, name):
  with (
    server_lib.Server(lambda *_: REPLIES[name]) as server,
    pytest.raises(asking.Unusable) as caught,
  ):
    fakes.run([fakes.raw(1)], model(server), tmp_path / "captions.jsonl")
  shown = "".join(traceback.format_exception(caught.value))
  assert f"HTTP {REPLIES[name].status}" in shown
  assert "Incorrect API key provided: ***" in shown and KEY not in shown


def test_a_redirection_takes_the_key_nowhere_else(tmp_path, model):
  with server_lib.Server(lambda *_: Reply(text="A square.")) as other:
    moved = Reply(
      status=307,
      headers={"location": f"{other.url}/chat/completions"},
      body=b"",
    )
    with server_lib.Server(lambda *_: moved) as server:
      fakes.run([fakes.raw(1)], model(server), tmp_path / "captions.jsonl")
      assert server.seen[0].authorization == f"Bearer {KEY}"
    assert [seen.authorization for seen in other.seen] in ([], [""])


SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def test_the_key_of_servers_is_read_in_one_place():
  package = test_code.PACKAGE
  found = {
    path.relative_to(package).as_posix()
    for path in package.rglob("*.py")
    if '"OPENAI_API_KEY"' in path.read_text()
  }
  assert found == {"vlm/endpoint.py"}


def test_no_config_has_a_place_for_a_key():
  """What a run writes to config.json is its config, and nothing beside."""
  from unialign_jax import config as config_lib

  def keys(tree):
    for key, value in tree.items():
      yield key
      if hasattr(value, "items"):
        yield from keys(value)

  for name in ("base.py", "features.py"):
    for key in keys(config_lib.load_file(name).to_dict()):
      words = key.upper().split("_")
      assert not set(words) & set(SECRET), key
