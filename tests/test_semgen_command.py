"""`python -m unialign_jax.semgen`, as a user runs it."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.evals.semgen.building import writer
from tests.vlm import server as server_lib
from unialign_jax.evals.semgen import dataset

pytest.importorskip("openai")
ENCODER = "--encoder=tests.evals.semgen.building.writer:Encoder"


def command(*arguments, **options):
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.semgen", *arguments],
    env={**os.environ, "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "sk-hidden"},
    capture_output=True,
    text=True,
    timeout=120,
    **options,
  )


def reply(seen, number):
  del number
  return server_lib.Reply(text=writer.reply(seen.prompt, seen.images))


def test_from_photographs_to_a_set_and_its_review(tmp_path):
  images = writer.pool(tmp_path / "pool")
  out = tmp_path / "set"
  size = ["--size=3", "--clusters=3", f"--out={out}", f"--images={images}"]
  with server_lib.Server(reply) as server:
    judge = [f"--judge={server.url}", "--judge_model=tiny"]
    built = command("build", *size, ENCODER, *judge)
    assert built.returncode == 0, built.stderr
    assert "3 photographs are chosen" in built.stdout
    assert len(server.seen) == 12
    assert server.seen[0].body["max_tokens"] == 1024
  sheet = tmp_path / "sheet.jsonl"
  written = command("review", f"--out={out}", f"--sheet={sheet}")
  assert "12 prompts to decide on" in written.stdout, written.stderr
  assert len(sheet.read_text().splitlines()) == 12
  assert len(dataset.load(out, 3).items) == 3
  kept = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
  assert b"sk-hidden" not in kept
  _page(out)


def _page(out):
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "unialign_jax.semgen", "review"),
      *(f"--out={out}", "--reviewer=Ada"),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    line = process.stdout.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+/", line).group()
    with urllib.request.urlopen(url, timeout=30) as page:
      assert page.read().count(b"<textarea") == 4
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "Traceback" not in process.stderr.read()
  finally:
    process.kill()
    process.wait()


def test_mistakes_are_one_message():
  found = command("build", "--out=x")
  assert found.returncode == 1
  assert found.stderr.startswith("error: --images: got none")
  assert "Traceback" not in found.stderr
