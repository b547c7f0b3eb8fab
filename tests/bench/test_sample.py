"""The samplers side by side, as the command runs them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from unialign_jax.bench import sample
from unialign_jax.bench import samplers


def _run(*args: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.bench", "sample", *args],
    env={**os.environ, "TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder)},
    capture_output=True,
    text=True,
  )


def test_both_sides_are_timed(tmp_path: pathlib.Path):
  pytest.importorskip("diffusers")
  scratch = tmp_path / "scratch"
  scratch.mkdir()
  # torch.compile takes minutes and is left to the command by hand.
  exported = scratch / "exported"
  samplers.export("shapes", exported)
  (timing,) = samplers.time_torch(exported, False, "float32", [2], 2)
  assert len(timing.pictures) == len(timing.captions) == 2
  file = tmp_path / "out.json"
  done = _run(
    *("--dtypes=float32", "--batch_sizes=2", "--repeats=2", f"--json={file}"),
    folder=scratch,
  )
  assert done.returncode == 0, done.stderr
  forms = json.loads(file.read_text())["forms"]
  assert [form["name"] for form in forms] == ["jax", "jax on 2 devices"]
  for form in forms:
    (ours,) = form["timings"]
    # With compilation, which no later call has.
    assert ours["first_picture"] > 2 * max(ours["pictures"])
    assert f"| {form['name']} | float32 | 2 |" in done.stdout
  assert not list(scratch.glob("unialign-bench-*"))


def test_the_ratio_is_to_the_fastest():
  def form(name: str, seconds: float) -> sample.Form:
    timing = samplers.Timing(
      batch_size=2,
      first_picture=9.0,
      pictures=[seconds, seconds, 50.0],
      first_caption=9.0,
      captions=[2 * seconds] * 3,
    )
    return sample.Form(name=name, dtype="float32", timings=[timing], peak=None)

  text = sample.table([form("jax", 2.0), form("torch eager", 8.0)])
  forms = [form("jax", 2.0), form("torch eager", 8.0), form("torch x", 5.0)]
  forms.append(form("jax on 2 devices", 1.0))
  assert "pictures, batch 2: 5.00 times" in sample.table(forms)
  assert "| 1.0000 (1.0000 to 25.0000) |" in text


def test_prompts_are_not_remembered():
  prompts = samplers._prompts()
  assert len({next(prompts) for _ in range(800)}) == 800


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--dtypes=float8", "--dtypes: got ['float8']"),
    ("--batch_sizes=0", "--batch_sizes: got 0"),
    ("--cpu_devices=all", "--cpu_devices: got all"),
    ("--json=/no/such/folder/a.json", "expected an existing folder"),
  ],
)
def test_wrong_flags(tmp_path: pathlib.Path, flag: str, message: str):
  done = _run(flag, folder=tmp_path)
  assert done.returncode == 1
  assert message in done.stderr
  assert "Traceback" not in done.stderr
