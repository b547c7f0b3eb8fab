"""The command, as a shell runs it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.evals.geneval import files as geneval_files
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
      status = end.code or 0
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
    ("--benchmark=geneval", new, "--only=generate", "--model=shapes"): "--data",
    (*_SMALL, new, "--data=no/where"): "--data=no/where: got no such file",
    (*_SMALL, new, "--shard=3"): "--shard: got '3'",
    (*_SMALL, new, "--set", "samples"): "--set: got 'samples'",
    (*_SMALL, new, "--set", "size=3"): "size: got no setting",
    (*_SMALL, new, "a word"): "got arguments",
    (*_SMALL, new, "--model=nowhere"): "is no folder here",
    (*_SMALL, new, "--solver=magic"): "solver",
    (*_SMALL, f"--out={out}", "--steps=3"): "image.steps: was 2, is 3",
    (f"--report={folder / 'nothing'}",): "--report: got",
  }
  found = _driven(folder, [list(words) for words in cases])
  for (words, expected), (status, said) in zip(cases.items(), found):
    assert status == 2, (words, said)
    assert expected in said and "Traceback" not in said, (words, said)
  assert not (folder / "new").exists()


def test_what_could_not_be_scored_is_not_begun(
  tmp_path: pathlib.Path, folder: pathlib.Path
):
  """Whoever scores is looked at before the model and before the data."""
  url = ("--judge=http://127.0.0.1:9/v1", "--judge_model=m")
  here = tmp_path / "model"
  here.mkdir()
  (tmp_path / "a.txt").write_text("a prompt")
  prompts = (f"--data={tmp_path}", "--set", "partial=true")
  cases = {
    ("gedit",): "--only=generate",
    ("imgedit",): "--only=generate",
    ("dpg",): "--only=generate",
    ("geneval",): "--only=generate",
    ("semgen",): "--only=generate",
    ("gedit", *url, "--set", "results=x"): "got both a judge",
    ("gedit", "--set", "results=nowhere"): "results=nowhere: cannot be read",
    ("imgedit", "--set", "results=nowhere"): "results=nowhere: cannot be read",
    ("imgedit", *url, "--set", "rubrics=nowhere"): "--set rubrics=nowhere",
    ("dpg", "--set", "results=nowhere"): "results=nowhere: cannot be read",
    ("dpg", *url, "--set", "vqa=x"): "expected one of them",
    ("dpg", *url, *prompts): "got no dpg_bench.csv",
    ("geneval", "--set", "results=nowhere"): "results=nowhere: cannot be read",
    ("semgen", url[0]): "--judge_model: got none",
    ("semgen", "--judge=nowhere", url[1]): "got what is no URL",
    ("semgen", "--judge=local:nowhere"): "neither a folder here nor a hub id",
    ("semgen", f"--judge=local:{here}", url[1]): "local: names the model",
    ("semgen", *url, "--protocol=best"): "--protocol: got 'best'",
    # With somebody to score them they go on, and want their data.
    ("gedit", *url): "--data: got none",
    ("imgedit", *url): "--data: got none",
    ("semgen", f"--judge=local:{here}"): "neither --data nor",
  }
  out = tmp_path / "out"
  found = _driven(
    folder,
    [
      [f"--benchmark={name}", f"--out={out}", "--model=nowhere", *words]
      for name, *words in cases
    ],
  )
  for (words, expected), (status, said) in zip(cases.items(), found):
    assert status == 2 and "Traceback" not in said, (words, said)
    assert expected in said, (words, said)
  assert not out.exists()


def test_a_result_is_named_by_its_protocol(
  tmp_path: pathlib.Path, folder: pathlib.Path
):
  rows = [geneval_files.row(n, k, k < n) for n in range(6) for k in range(4)]
  raw = geneval_files.write_results(tmp_path / "results.jsonl", rows)
  set_ = (f"--set=results={raw}", "--set=partial=true")
  geneval = ("--benchmark=geneval", "--only=score", *set_)
  cases = {
    (*geneval,): "results.json",
    (*geneval, "--set=protocol=repaired"): "results.json",
    (*geneval, "--compat"): "results-compat.json",
    (*geneval, "--compat", "--protocol=compat"): "results-compat.json",
    (*geneval, "--set=compat=true"): "results-compat.json",
    (*geneval, "--set=protocol=compat"): "results-compat.json",
    (
      *geneval,
      "--compat",
      "--protocol=repaired",
    ): "protocol repaired, expected",
    (*geneval, "--compat", "--set=protocol=repaired"): "expected one of them",
    (*_SMALL, "--compat"): "--compat: got it with --benchmark=shapes",
    ("--benchmark=semgen", "--only=score", "--compat"): "release or paper",
  }
  outs = [tmp_path / f"out{number}" for number in range(len(cases))]
  found = _driven(
    folder, [[*words, f"--out={out}"] for words, out in zip(cases, outs)]
  )
  for (words, expected), (status, said), out in zip(cases.items(), found, outs):
    if expected.endswith(".json"):
      assert status == 0, (words, said)
      (path,) = out.glob("results*.json")
      assert path.name == expected, words
      protocol = "compat" if "compat" in expected else "repaired"
      assert results.read(path).result.protocol == protocol
    else:
      assert status == 2 and expected in said, (words, said)
      assert not out.exists()


def _driven(
  cache: pathlib.Path, lines: list[list[str]]
) -> list[tuple[int, str]]:
  """Status and complaints of each command line."""
  done = subprocess.run(
    [sys.executable, "-c", _DRIVER],
    input=json.dumps(lines),
    capture_output=True,
    text=True,
    env=_environment(cache),
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def test_every_benchmark_loads_and_is_known_by_its_name():
  for name in registry.NAMES:
    benchmark = registry.load(name)
    assert benchmark.name == name
    assert registry.default_protocol(name) in benchmark.known_protocols
    assert not isinstance(benchmark.hub_files, str)
  assert registry.default_protocol("mmmu") is None
