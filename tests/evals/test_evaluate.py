"""The command, as a shell runs it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from unialign_jax.evals import registry
from unialign_jax.evals import results

_SMALL = (
  *("--model=shapes", "--benchmark=shapes", "--steps=2", "--text_steps=2"),
  *("--set", "samples=1", "--set", "abilities=perception,understanding"),
)
# Several command lines in one process: JAX starts once.
_DRIVER = """
import contextlib, io, json, sys
from absl import flags
from unialign_jax import evaluate
found = []
for argv in json.load(sys.stdin):
  for name in flags.FLAGS:
    flags.FLAGS[name].unparse()
  sys.argv, said, status = ["evaluate", *argv], io.StringIO(), 0
  with contextlib.redirect_stderr(said):
    try:
      evaluate.cli()
    except SystemExit as end:
      status = end.code
  found.append([status, said.getvalue()])
print(json.dumps(found))
"""


def _environment(cache: pathlib.Path) -> dict[str, str]:
  names = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
  left_out = {"UNIALIGN_SEMGEN", "OPENAI_API_KEY"}
  return {k: v for k, v in os.environ.items() if k not in left_out} | names


def _run(cache: pathlib.Path, *words: str, status: int = 0):
  done = subprocess.run(
    [sys.executable, "-m", "unialign_jax.evaluate", *words],
    capture_output=True,
    text=True,
    env=_environment(cache),
    timeout=300,
    check=False,
  )
  assert done.returncode == status, done.stderr
  return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def evaluated(folder: pathlib.Path) -> tuple[pathlib.Path, str]:
  """The shipped model on a few samples: its folder, and what was printed."""
  out = folder / "evals" / "shapes"
  said, _ = _run(folder, *_SMALL, f"--out={out}")
  return out, said


def test_from_a_model_to_a_table(evaluated: tuple[pathlib.Path, str]):
  out, said = evaluated
  assert "13 of 13 pictures and texts are there" in said
  assert "canny (F1)" in said and "answer: color" in said
  found = results.read(out / "results.json")
  assert found.result.benchmark == "shapes" and found.made == 13
  assert found.settings["image"]["steps"] == 2
  assert found.settings["text"]["given"] == ["steps"]
  assert len(found.settings["identity"]["network"]) == 64
  assert found.scored_with["samples"] == "1"
  groups = {time.group for time in found.times}
  assert {"canny (F1)", "answer: color"} <= groups
  assert len(list(out.rglob("*.png"))) == 3


def test_again_it_scores_and_reports(
  evaluated: tuple[pathlib.Path, str], folder: pathlib.Path
):
  out, said = evaluated
  before = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
  again, _ = _run(folder, *_SMALL, f"--out={out}")
  assert again == said
  assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
  lines, _ = _run(folder, f"--report={folder / 'evals'}")
  paths = [pathlib.Path(line) for line in lines.split()]
  assert [path.name for path in paths] == ["report.md", "report.html"]
  assert "canny" in paths[1].read_text()


def test_mistakes_are_one_line_and_status_2(
  evaluated: tuple[pathlib.Path, str], folder: pathlib.Path
):
  out, _ = evaluated
  new = f"--out={folder / 'new'}"
  cases = {
    ("--benchmark=genevl", new, "--model=shapes"): "did you mean geneval",
    (new, "--model=shapes"): "--benchmark: got none",
    ("--benchmark=shapes", "--model=shapes"): "--out: got none",
    ("--benchmark=shapes", new): "--model: got none",
    ("--benchmark=semgen", new, "--model=shapes"): "--judge: got none",
    ("--benchmark=semgen", new, "--only=generate", "--model=shapes"): "--data",
    ("--benchmark=geneval", new, "--model=shapes"): "--data",
    (*_SMALL, new, "--shard=3"): "--shard: got '3'",
    (*_SMALL, new, "--set", "samples"): "--set: got 'samples'",
    (*_SMALL, new, "--set", "size=3"): "size: got no setting",
    (*_SMALL, new, "a word"): "got arguments",
    (*_SMALL, new, "--model=nowhere"): "is no folder here",
    (*_SMALL, new, "--solver=magic"): "solver",
    (*_SMALL, f"--out={out}", "--steps=3"): "image.steps: was 2, is 3",
    (f"--report={folder / 'nothing'}",): "--report: got",
  }
  done = subprocess.run(
    [sys.executable, "-c", _DRIVER],
    input=json.dumps([list(words) for words in cases]),
    capture_output=True,
    text=True,
    env=_environment(folder),
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  for (words, expected), (status, said) in zip(cases.items(), found):
    assert status == 2, (words, said)
    assert expected in said and "Traceback" not in said, (words, said)
  assert not (folder / "new").exists()


def test_every_benchmark_loads_and_is_known_by_its_name():
  for name in registry.NAMES:
    benchmark = registry.load(name)
    assert benchmark.name == name
    assert isinstance(benchmark.needs_judge, bool)
