"""A short soak, with real kills; and what would be wrong with one."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest

from unialign_jax.bench import soak_report
from unialign_jax.bench import soak_run

_MINUTES, _LEAST, _MOST = 0.9, 3, 6


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """The folder of a soak that is over, with report.txt and report.json."""
  folder = tmp_path_factory.mktemp("soak")
  command = [
    *(sys.executable, "-m", "unialign_jax.bench", "soak"),
    *(f"--minutes={_MINUTES}", f"--least={_LEAST}", f"--most={_MOST}"),
    *("--config=tiny.py", "--records=16", "--checkpoint_every=5"),
    *(f"--out={folder / 'runs'}", f"--json={folder / 'report.json'}"),
    f"--plot={folder / 'plot.png'}",
  ]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  (folder / "report.txt").write_text(done.stdout)
  return folder


@pytest.fixture(scope="module")
def report(soaked: pathlib.Path) -> soak_report.Report:
  """The same, read again."""
  tree = json.loads((soaked / "report.json").read_text())

  def watched(name: str) -> soak_run.Watched:
    own = tree[name]
    looks = [soak_run.Look(**look) for look in own["looks"]]
    kills = [soak_run.Kill(**kill) for kill in own["kills"]]
    return soak_run.Watched(**own | {"looks": looks, "kills": kills})

  return soak_report.compare(
    soaked / "runs",
    watched("killed"),
    watched("alone"),
    steps=tree["steps"],
    seed=tree["seed"],
  )


def test_killed_and_alone_are_one_run(
  soaked: pathlib.Path, report: soak_report.Report
):
  assert "all as it should be" in (soaked / "report.txt").read_text()
  assert not report.failures
  assert report.killed.kills and report.redone
  assert len(report.compiled) > len(report.killed.kills)
  assert report.steps > 20 and report.arrays[0] > 100
  assert (soaked / "plot.png").stat().st_size > 5000
  for run in (report.killed, report.alone):
    assert run.looks
    assert min(x.memory for x in run.looks[3:]) > 1e8
    assert all(x.files > 5 and x.threads for x in run.looks[3:])


@pytest.mark.parametrize(
  ("change", "told"),
  [
    ({"differing": ["step 3: loss/total"]}, "1 values differ: step 3"),
    ({"arrays": (7, 2)}, "2 arrays of the checkpoint differ"),
    ({"compiled": [5, 0, 1]}, r"compiled \[0, 1\]"),
    ({"leftovers": ["killed/tmp"]}, "left over: killed/tmp"),
    ({"growth": {"alone": {"memory MB": (100, 106)}}}, "memory MB grew"),
    ({"growth": {"killed": {"files": (20, 25)}}}, "files grew"),
  ],
)
def test_what_is_wrong_is_told(
  report: soak_report.Report, change: dict, told: str
):
  wrong = dataclasses.replace(report, **change)
  (failure,) = wrong.failures
  assert re.search(told, failure)
  assert f"FAILED: {failure}" in wrong.text()


def test_each_step_and_value_is_compared():
  alone = [{"step": 1, "loss/a": 2.0}, {"step": 2, "loss/a": 3.0}]
  killed = [
    {"step": 1, "loss/a": 2.0, "seconds/step": 5.0},
    {"step": 1, "loss/a": 2.5, "grad_norm": 1.0},
  ]
  assert soak_report._differing(killed, alone, 2) == [
    "step 2: missing",
    "step 1: loss/a",
    "step 1: grad_norm",
  ]
