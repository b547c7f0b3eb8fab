"""`transformers serve` with a tiny random model, as a user starts it.

A random model never writes scores: this shows that pictures and questions
arrive, that replies come back, and that none becomes a score.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.evals.judge import fakes
from unialign_jax.evals import results
from unialign_jax.evals.judge import flags
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import vlm_judge
from unialign_jax.evals.semgen import dataset

for _name in ("torch", "openai", "fastapi", "uvicorn", "accelerate"):
  pytest.importorskip(_name)
tiny_llava = pytest.importorskip("tests.vlm.tiny_llava")

_PATIENCE = 120.0
_SEMGEN = os.environ.get(dataset.VARIABLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("llava")
  tiny_llava.write(path)
  return path


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
  """Address of the server, which ends with the tests."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  cache = tmp_path_factory.mktemp("cache")
  log = (cache / "log").open("wb+")
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "transformers.cli.transformers", "serve"),
      *(str(folder), "--device", "cpu", "--dtype", "float32"),
      *("--host", "127.0.0.1", "--port", str(port)),
    ],
    env={
      **os.environ,
      "HF_HUB_CACHE": str(cache),
      "HF_HUB_OFFLINE": "1",
      "OMP_NUM_THREADS": "1",
    },
    stdout=log,
    stderr=subprocess.STDOUT,
  )
  try:
    end = time.monotonic() + _PATIENCE
    while not _is_up(port):
      log.seek(0)
      assert process.poll() is None, log.read().decode()[-2000:]
      assert time.monotonic() < end, log.read().decode()[-2000:]
      time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1"
  finally:
    process.terminate()
    try:
      process.wait(20)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
    log.close()


def _is_up(port: int) -> bool:
  try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
      return True
  except (urllib.error.URLError, OSError):
    return False


@pytest.fixture
def judge(url, folder, monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)
  settings = vlm_judge.Settings(max_tokens=6, concurrency=3, retries=0)
  opened = flags.open_judge(url, str(folder), settings)
  yield opened
  opened.close()


def pictures(count):
  rng = np.random.default_rng(0)
  return [
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8))
    for _ in range(count)
  ]


def test_the_server_says_what_the_model_says_here(judge, folder):
  here = flags.open_judge(
    f"local:{folder}", None, vlm_judge.Settings(max_tokens=6)
  )
  shown = pictures(3)
  for images in (shown[:1], shown[1:2], shown[:2], shown):
    assert judge.ask("a b picture", images) == here.ask("a b picture", images)
  here.close()
  assert len({judge.ask("a b", [one]) for one in shown}) > 1


def test_no_reply_becomes_a_score(judge, tmp_path):
  path = tmp_path / "judgements.jsonl"
  found = fakes.run(path, judge, [0, 80, 160, 240], attempts=2)
  assert {one.reason for one in found} <= {"no scores", "empty", "refusal"}
  lines = fakes.lines(path)
  assert len(lines) == 8
  assert all(line["reply"] is not None for line in lines)
  assert all(line["read"] is None for line in lines)


def test_a_model_that_it_does_not_serve(url, monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  settings = vlm_judge.Settings(retries=0)
  judge = flags.open_judge(url, "another", settings)
  with pytest.raises(judge_lib.JudgeError, match="http 400"):
    judge.ask("a", pictures(1))
  judge.close()


@pytest.mark.skipif(
  not _SEMGEN, reason=f"got no ${dataset.VARIABLE}, expected SemGen-Bench"
)
def test_from_a_model_and_photographs_to_a_table(
  url: str, folder: pathlib.Path, tmp_path: pathlib.Path
):
  """One command: every picture is made and judged, and no score invented."""
  out = tmp_path / "out"
  done = subprocess.run(
    [
      *(sys.executable, "-m", "unialign_jax.evaluate", "--benchmark=semgen"),
      *("--model=shapes", "--steps=2", f"--out={out}", "--set=limit=8"),
      *(f"--judge={url}", f"--judge_model={folder}", "--judge_retries=0"),
      *("--judge_max_tokens=6", "--set=attempts=1"),
    ],
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "NO_PROXY": "127.0.0.1",
      "OPENAI_API_KEY": "",
      "XDG_CACHE_HOME": str(tmp_path),
    },
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 1, done.stderr
  assert "no number came of it" in done.stderr
  assert "Traceback" not in done.stderr
  assert "32 of 32 pictures and texts are there" in done.stdout
  groups = {group.name for group in dataset.GROUPS}
  found = results.read(out / results.NAME)
  assert found.made == found.wanted == 32
  assert groups < {score.group for score in found.result.scores}
  for score in found.result.scores:
    assert score.value is None and score.scored == 0, score
    if score.group in groups:
      assert score.expected == 8
  notes = " ".join(found.result.notes)
  assert "32 pictures got no score and are in no mean" in notes
  # All was asked and answered: a release judges a picture by two rubrics.
  lines = (out / "judgements.jsonl").read_text().splitlines()
  judged = [json.loads(line) for line in lines]
  assert len({line["key"] for line in judged}) == len(judged) == 64
  assert all(line["reply"] is not None for line in judged)
  table = (out / "table-release.md").read_text()
  assert table.count("0 of 8") == 4
