"""The command as a user runs it, against a server on this machine."""

import os
import signal
import subprocess
import sys

import pytest

from tests.features.captioning import fakes
from tests.vlm import server as server_lib
from unialign_jax.data.sources import captions as captions_lib
from unialign_jax.data.sources import registry
from unialign_jax.shapes import weights


@pytest.fixture
def root(tmp_path):
  """Three pictures, of which the second has a caption."""
  folder = tmp_path / "pictures"
  folder.mkdir()
  for shade in (10, 20, 30):
    (folder / f"{shade}.png").write_bytes(fakes.picture(shade).data)
  (folder / "20.txt").write_text("A dark square.")
  return folder


def start(root, *arguments):
  command = [sys.executable, "-m", "unialign_jax.recaption"]
  command += ["--source=folder", f"--root={root}", *arguments]
  command += [f"--tokenizer={weights.TOKENIZER}"]
  return subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"NO_PROXY": "127.0.0.1"},
  )


def run(root, *arguments):
  """Exit status, stdout, stderr."""
  with start(root, *arguments) as process:
    printed, errors = process.communicate(timeout=120)
  return process.returncode, printed, errors


def test_fills_the_captions_of_a_folder(root, tmp_path):
  pytest.importorskip("openai")
  out = tmp_path / "captions.jsonl"
  with server_lib.Server(server_lib.tell_shade) as server:
    arguments = [f"--endpoint={server.url}", "--model=tiny", f"--out={out}"]
    arguments += ["--option=captions=txt", "--text_length=64"]
    status, printed, errors = run(root, *arguments)
    assert (status, server.shades()) == (0, [10, 30]), errors
    assert "2  captions written" in printed
    assert "1  had a caption" in printed
    assert "3/3" in errors and "picture/s" in errors
    status, printed, _ = run(root, *arguments)
    assert (status, len(server.seen)) == (0, 2)
    assert "2  done before" in printed
  source = registry.open_source("folder", root, captions="txt")
  filled = captions_lib.WithCaptions(source, out)
  assert [(item.caption, item.caption_source) for item in filled] == [
    ("A square of shade 10.", "tiny"),
    ("A dark square.", "dataset"),
    ("A square of shade 30.", "tiny"),
  ]


def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(root, tmp_path):
  pytest.importorskip("openai")
  out = tmp_path / "captions.jsonl"

  def reply(seen, number):
    answer = server_lib.tell_shade(seen, number)
    return server_lib.Reply(text=answer.text, delay=60.0 * (number == 1))

  with server_lib.Server(reply) as server:
    arguments = [f"--endpoint={server.url}", "--model=tiny", f"--out={out}"]
    arguments += ["--option=captions=none", "--concurrency=1"]
    with start(root, *arguments) as process:
      try:
        server.wait_for_requests(2)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=30)
      finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert "1  captions written" in printed
    assert len(fakes.captions(out)) == 1
    assert run(root, *arguments)[0] == 0
  assert server.shades() == [10, 20, 20, 30]
  assert len(fakes.captions(out)) == 3


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--model=tiny"], "expected one of them"),
    (["--endpoint=http://x/v1", "--local=y"], "expected one of them"),
    (["--endpoint=http://x/v1"], "got no --model"),
    (["--endpoint=http://x/v1", "--option=captions"], "expected key=value"),
  ],
)
def test_mistakes_are_one_message(root, tmp_path, arguments, words):
  out = tmp_path / "captions.jsonl"
  status, _, errors = run(root, f"--out={out}", *arguments)
  assert status == 1
  assert errors.splitlines()[-1].startswith("error: ")
  assert words in errors
  assert "Traceback" not in errors
  assert not out.exists()
