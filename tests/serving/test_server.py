"""The command itself: the shipped model in a process, and OpenAI's client."""

import base64
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from absl.testing import flagsaver
from PIL import Image

from tests.serving import stand_in
from unialign_jax.data import sample as sample_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import tasks

_KEY = "not for others"
_PATIENCE = 300  # seconds, most of which goes into compiling


class Server:
  """A server as a user starts it."""

  def __init__(self, folder: pathlib.Path):
    self.process = subprocess.Popen(
      [
        *(sys.executable, "-m", "unialign_jax.serve", "--model=shapes"),
        # Long enough for eight requests to meet on a busy machine.
        *("--port=0", "--window_ms=500", "--max_body_mb=0.1"),
      ],
      env={
        **os.environ,
        "XDG_CACHE_HOME": str(folder),
        "JAX_PLATFORMS": "cpu",
        "UNIALIGN_API_KEY": _KEY,
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    line = self.process.stdout.readline()
    found = re.search(r"Serving shapes at (http://127\.0\.0\.1:\d+/v1)", line)
    assert found, line + self.process.stderr.read()
    self.url = found[1]
    self.client = openai.OpenAI(
      base_url=self.url, api_key=_KEY, max_retries=0, timeout=_PATIENCE
    )

  def health(self) -> dict[str, Any]:
    with urllib.request.urlopen(f"{self.url[:-3]}/health", timeout=20) as got:
      return json.load(got)


@pytest.fixture(scope="module")
def server(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
  """It ends by the last test of the module."""
  made = Server(tmp_path_factory.mktemp("cache"))
  yield made
  made.process.kill()
  made.process.communicate()


def _sample(number: int, task: str) -> sample_lib.Sample:
  return tasks.make(
    task,
    np.random.default_rng(number),
    split="test",
    world=feature_sets.WORLD,
  )


def _png(pixels: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def _asked(server: Server, sample: sample_lib.Sample) -> str:
  url = {"url": stand_in.uri(_png(sample.target_image))}
  parts = [{"type": "image_url", "image_url": url}]
  parts.append({"type": "text", "text": sample.question})
  made = server.client.chat.completions.create(
    model="shapes",
    messages=[{"role": "user", "content": parts}],
    temperature=0,
  )
  return made.choices[0].message.content


def test_questions_together_are_answered_as_alone(server: Server):
  samples = [_sample(number, "understanding") for number in range(8)]
  alone = [_asked(server, sample) for sample in samples[:3]]
  before = server.health()
  with stand_in.threads(
    *(lambda sample=sample: _asked(server, sample) for sample in samples)
  ) as together:
    pass
  after = server.health()
  assert after["rows"] - before["rows"] == 8
  assert after["batches"] - before["batches"] < 8
  assert together[:3] == alone
  right = [s.caption == text for s, text in zip(samples, together)]
  assert sum(right) >= 4, together


def _decoded(one: Any) -> np.ndarray:
  data = base64.b64decode(one.b64_json)
  return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def test_pictures_and_edits(server: Server):
  def generate(seed: int) -> np.ndarray:
    made = server.client.images.generate(
      model="shapes",
      prompt="a large red circle at the top",
      extra_body={"seed": seed, "steps": 8},
    )
    (one,) = made.data
    return _decoded(one)

  first = generate(3)
  assert first.shape == (64, 64, 3)
  # Red at the top, at least: the upper half is redder than the lower.
  redness = first[..., 0] - first[..., 1:].mean(-1)
  assert redness[:32].mean() > redness[32:].mean() + 10
  assert np.abs(generate(3) - first).max() <= 1
  sample = _sample(0, "edit")
  made = server.client.images.edit(
    model="shapes",
    image=_png(sample.cond_images[0]),
    prompt=sample.instruction,
    extra_body={"steps": 8, "seed": 1},
  )
  source = sample.cond_images[0].astype(int)
  assert np.abs(_decoded(made.data[0]) - source).mean() < 60


def test_errors_of_the_real_thing(server: Server):
  with pytest.raises(openai.AuthenticationError):
    openai.OpenAI(base_url=server.url, api_key="guess").models.list()
  with pytest.raises(openai.BadRequestError) as caught:
    server.client.images.generate(
      model="shapes", prompt="a ring", size="128x128"
    )
  assert "up to 64" in str(caught.value)
  too_large = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
  with pytest.raises(openai.APIStatusError) as caught:
    server.client.images.edit(
      model="shapes", prompt="a ring", image=_png(too_large)
    )
  assert caught.value.status_code == 413


def test_the_end_finishes_what_runs_and_refuses_what_waits(server: Server):
  """The last test of the module: it ends the server."""

  def long() -> Any:
    return server.client.images.generate(
      model="shapes", prompt="a ring", n=8, extra_body={"steps": 100}
    )

  def waiting() -> int:
    try:
      server.client.images.generate(model="shapes", prompt="a star")
    except openai.APIStatusError as error:
      assert error.code == "stopping"
      return error.status_code
    return 200

  with stand_in.threads(long) as finished:
    stand_in.wait_for(lambda: server.health()["running"] == 8, 60)
    with stand_in.threads(waiting) as refused:
      stand_in.wait_for(lambda: server.health()["waiting"] == 1, 20)
      server.process.send_signal(signal.SIGTERM)
  assert refused == [503]
  assert len(finished[0].data) == 8
  said, complained = server.process.communicate(timeout=_PATIENCE)
  assert server.process.returncode == 0, complained
  assert _KEY not in said + complained
  assert "ending" in complained and "Traceback" not in complained


def test_what_the_command_refuses(monkeypatch: pytest.MonkeyPatch):
  from unialign_jax import serve
  from unialign_jax.serving import server as server_lib

  monkeypatch.setenv("UNIALIGN_API_KEY", "  ")
  with pytest.raises(ValueError, match="UNIALIGN_API_KEY: got an empty one"):
    serve._key()
  monkeypatch.delenv("UNIALIGN_API_KEY")
  assert serve._key() is None
  with server_lib.listen("127.0.0.1", 0) as taken:
    assert server_lib.url(taken).startswith("http://127.0.0.1:")
    with pytest.raises(ValueError, match="--host, --port: got 127"):
      server_lib.listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("has_key", [True, False])
def test_a_warning_where_others_reach_it(
  has_key: bool, capsys: pytest.CaptureFixture[str]
):
  from unialign_jax import serve

  with flagsaver.as_parsed(model="shapes", host="0.0.0.0"):
    serve._warn(has_key=has_key)
  said = capsys.readouterr().err
  assert "0.0.0.0 is reached by other machines" in said
  assert ("anyone" in said) == (not has_key)
