"""lmms-eval's own command over small local tasks, by both ways to this model.

Skipped where lmms-eval is not installed: launch/test.sh does that, without its
own requirements.
"""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from unialign_jax.evals.report import comparison
from unialign_jax.evals.report import lmms_eval as lmms_eval_files

pytest.importorskip(
  "lmms_eval", reason="got no lmms-eval, expected 0.7.3 for these tests"
)
lmms_tasks = pytest.importorskip("tests.evals.lmms_tasks")
_SCORE = 0.4  # what the stub judge gives


class _Judge(http.server.BaseHTTPRequestHandler):
  """Gives every answer the same score."""

  def do_POST(self) -> None:
    self.rfile.read(int(self.headers["content-length"]))
    message = {"role": "assistant", "content": str(_SCORE)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps(
      {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [choice],
      }
    ).encode()
    self.send_response(200)
    self.send_header("content-type", "application/json")
    self.send_header("content-length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *args: object) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def environment(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
  """Offline, with a judge on this machine."""
  judge = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
  thread = threading.Thread(target=judge.serve_forever, daemon=True)
  thread.start()
  cache = tmp_path_factory.mktemp("cache")
  yield {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": str(cache / "hf"),
    "XDG_CACHE_HOME": str(cache),
    "API_TYPE": "openai",
    "OPENAI_API_KEY": "none",
    "OPENAI_API_URL": f"http://127.0.0.1:{judge.server_port}/v1",
  }
  judge.shutdown()
  judge.server_close()
  thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  made = tmp_path_factory.mktemp("tasks")
  lmms_tasks.write(made)
  return made


class Run:
  """What lmms-eval wrote."""

  def __init__(self, out: pathlib.Path, said: str):
    # Beside it is a folder `submissions` with files of tasks.
    (self.path,) = out.glob("*/2*_results.json")
    self.results: dict[str, Any] = json.loads(self.path.read_text())["results"]
    self.said = said
    self._out = out

  def samples(self, task: str) -> list[dict[str, Any]]:
    (path,) = self._out.glob(f"*/2*_samples_{task}.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(rows, key=lambda row: row["doc_id"])

  def texts(self, task: str) -> list[str]:
    return [row["filtered_resps"] for row in self.samples(task)]


def _run(
  folder: pathlib.Path,
  out: pathlib.Path,
  environment: dict[str, str],
  *words: str,
) -> Run:
  done = subprocess.run(
    [
      *(sys.executable, "-m", "lmms_eval", "--batch_size=8"),
      *(f"--include_path={folder}", f"--tasks={','.join(lmms_tasks.TASKS)}"),
      *(f"--output_path={out}", "--log_samples", *words),
    ],
    env=environment,
    capture_output=True,
    text=True,
    timeout=800,
  )
  assert done.returncode == 0, done.stderr
  return Run(out, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def plugin(
  folder: pathlib.Path,
  environment: dict[str, str],
  tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Run, dict[str, Any]]:
  """The run in one process, and its report."""
  out = tmp_path_factory.mktemp("plugin")
  report = out / "report.json"
  run = _run(
    folder,
    out,
    environment,
    "--model=unialign_jax",
    f"--model_args=pretrained=shapes,report={report}",
  )
  return run, json.loads(report.read_text())


@pytest.fixture(scope="module")
def served(
  folder: pathlib.Path,
  environment: dict[str, str],
  tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Run, str]:
  """The run against a server, and what the server said at its end."""
  server = subprocess.Popen(
    [
      *(sys.executable, "-m", "unialign_jax.serve", "--model=shapes"),
      *("--port=0", "--temperature=0", "--truncate", "--several_images=grid"),
    ],
    env=environment,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    url = re.search(r"http://\S+/v1", server.stdout.readline()).group()
    run = _run(
      folder,
      tmp_path_factory.mktemp("served"),
      environment,
      "--model=openai",
      f"--model_args=model=shapes,base_url={url},api_key=x,num_concurrent=8"
      ",timeout=600",
    )
    server.terminate()
    assert server.wait(60) == 0
  finally:
    server.kill()
    server.wait()
  return run, url


def test_the_shapes_model_answers(plugin: tuple[Run, dict[str, Any]]):
  run, report = plugin
  right = run.results["shapes_answers"]["right,none"]
  assert right >= 0.5, run.texts("shapes_answers")
  told = report["tasks"]["shapes_answers"]
  assert told["num_requests"] == lmms_tasks.NUM_SHAPES
  assert not told["question_cut"] and not told["unanswered"]


def test_a_question_is_the_same_whatever_task_it_is_in(
  plugin: tuple[Run, dict[str, Any]],
):
  """Markers of images are no words, and MM-Vet's 0.2 is no sampling."""
  run, _ = plugin
  expected = run.texts("shapes_answers")[:2]
  assert all(expected)
  assert run.texts("local_mmmu")[:2] == expected
  assert run.texts("local_mmvet") == expected


def test_what_does_not_fit_is_counted(plugin: tuple[Run, dict[str, Any]]):
  run, report = plugin
  told = report["tasks"]["local_mmmu"]
  assert told["num_requests"] == 3
  assert told["several_images"] == [2] and 2 in told["question_cut"]
  assert report["policy"] == "grid"
  assert "1 with several images (grid)" in run.said


def test_benchmarks_are_scored(plugin: tuple[Run, dict[str, Any]]):
  run, _ = plugin
  assert run.results["local_mmvet"]["gpt_eval_score,none"] == pytest.approx(
    100 * _SCORE
  )
  assert 0 <= run.results["local_mmmu"]["mmmu_acc,none"] <= 1
  assert "gpt_eval_score,none" in run.results["local_mmbench"]


def test_the_report_reads_what_was_written(
  plugin: tuple[Run, dict[str, Any]], tmp_path: pathlib.Path
):
  run, _ = plugin
  local = {
    "local_mmbench": "mmbench_en_dev_static",
    "local_mmmu": "mmmu_val",
    "local_mmvet": "mmvet",
  }
  (path,) = lmms_eval_files.find(run.path.parents[1])
  assert path == run.path
  # The tasks by the names that they have where they are of the benchmarks.
  text = path.read_text()
  for name, real in local.items():
    text = text.replace(name, real)
  (tmp_path / path.name).write_text(text)
  by_task, others = lmms_eval_files.read(tmp_path / path.name)
  assert others == ["shapes_answers"]
  found = {task: one.result.scores[0] for task, one in by_task.items()}
  assert found["mmvet"].value == pytest.approx(100 * _SCORE)
  acc = run.results["local_mmmu"]["mmmu_acc,none"]
  assert found["mmmu_val"].value == pytest.approx(100 * acc)
  assert found["mmmu_val"].scored == found["mmmu_val"].expected == 3
  assert set(found) == set(local.values())
  placed = comparison.Placed(by_task["mmvet"], tmp_path, path)
  assert placed.model == "shapes"


def test_the_served_route_says_the_same(
  plugin: tuple[Run, dict[str, Any]], served: tuple[Run, str]
):
  inside, _ = plugin
  outside, _ = served
  # MM-Vet asks for a temperature of 0.2 and for no sampling: the client of a
  # server sends the first, a model in the process goes by the second.
  for task in ("shapes_answers", "local_mmmu", "local_mmbench"):
    assert outside.texts(task) == inside.texts(task)
  assert all(outside.texts("local_mmvet"))


def test_likelihoods_are_refused(folder: pathlib.Path):
  model = pytest.importorskip("unialign_jax.lmms.model")
  made = model.UniAlign("shapes")
  with pytest.raises(NotImplementedError, match="random bound"):
    made.loglikelihood([])
  with pytest.raises(ValueError, match="JAX_PLATFORMS"):
    model.UniAlign("shapes", device="cuda:0")
  with pytest.raises(ValueError, match="grid"):
    model.UniAlign("shapes", several_images="all")
