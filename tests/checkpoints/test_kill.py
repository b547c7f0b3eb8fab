"""SIGKILL at any moment of a save leaves the latest step as it was."""

import itertools
import json
import pathlib
import re
import subprocess
import sys

from tests.checkpoints import states

_KILLS = 21  # the last of them is only looked at by the test
_STEP = re.compile(r"step_\d{8}")


def _kill(workdir: pathlib.Path) -> list[dict]:
  done = subprocess.run(
    [
      *(sys.executable, "-m", "tests.checkpoints.killed"),
      *(workdir, str(_KILLS), "7"),
    ],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_kill_at_any_moment_leaves_the_latest_step(tmp_path: pathlib.Path):
  lives = _kill(tmp_path)
  assert len(lives) == _KILLS
  # Each life has compared its latest step with what was saved, bit for bit.
  for before, after in itertools.pairwise(lives):
    assert after["latest"] >= max(before["latest"], before["saved"])
    assert after["latest"] <= max(before["latest"], before["saved"]) + 2
    # What was half written, or half deleted, went with the next start.
    assert all(_STEP.fullmatch(name) for name in after["names"])
    assert len(after["names"]) <= 3  # two are kept, an old one may be left
  assert lives[-1]["latest"] > _KILLS / 2
  # The moments were what they should be.
  within = [any("tmp" in name for name in life["left"]) for life in lives]
  assert sum(within) >= 5
  states_after = states.names(tmp_path)
  assert all(_STEP.match(name) or name == "deleted" for name in states_after)
