"""A short soak of a small run, by the command itself."""

import json
import pathlib
import subprocess
import sys

import pytest

from unialign_jax.bench import soak_report


@pytest.mark.slow
def test_killed_again_and_again_is_the_run_left_alone(tmp_path: pathlib.Path):
  report, picture = tmp_path / "soak.json", tmp_path / "soak.png"
  command = [sys.executable, "-m", "unialign_jax.bench", "soak"]
  command += ["--minutes=1", "--least=3", "--most=8", "--config=tiny.py"]
  command += ["--records=16", "--checkpoint_every=5", f"--json={report}"]
  command += [f"--plot={picture}", f"--out={tmp_path / 'runs'}"]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout + done.stderr
  found = json.loads(report.read_text())
  assert found["failures"] == []
  signals = {kill["signal"] for kill in found["killed"]["kills"]}
  assert signals == {"SIGKILL", "SIGTERM"}
  assert found["redone"] > 0
  assert picture.stat().st_size > 0
  # A line that is not what the run left alone has is found.
  alone = tmp_path / "runs/alone/metrics.jsonl"
  lines = alone.read_text().splitlines()
  line = json.loads(lines[0])
  line["loss/total"] = line["loss/total"] + 1e-7
  alone.write_text("\n".join([json.dumps(line), *lines[1:]]) + "\n")
  assert soak_report._differing(
    [json.loads(x) for x in lines], [line, *map(json.loads, lines[1:])], 1
  ) == ["step 1: loss/total"]
