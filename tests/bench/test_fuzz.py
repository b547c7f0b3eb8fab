"""Two thousand damaged files; and the watcher finds planted faults."""

import collections
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import pytest

from tests.bench import planted
from unialign_jax.bench import fuzz
from unialign_jax.bench import fuzz_mutate
from unialign_jax.bench import fuzz_repair
from unialign_jax.bench import fuzz_targets
from unialign_jax.bench import fuzz_watch
from unialign_jax.bench import fuzz_work

CASES = 2000


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory):
  return fuzz_targets.make(tmp_path_factory.mktemp("scratch"))


def command(*arguments: object) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.bench", "fuzz", *map(str, arguments)],
    capture_output=True,
    text=True,
    timeout=600,
  )


def test_two_thousand_cases(tmp_path: pathlib.Path, targets):
  done = command(f"--cases={CASES}", f"--json={tmp_path / 'found.json'}")
  assert done.returncode == 0, done.stdout
  outcome = json.loads((tmp_path / "found.json").read_text())["outcome"]
  assert outcome["findings"] == []
  read, refused = outcome["read"], outcome["refused"]
  assert sum(read.values()) + sum(refused.values()) == outcome["cases"] == CASES
  assert set(read) == set(targets)
  # Neither does all get through, nor is all of it thrown out at the door.
  assert sum(value > 0 for value in read.values()) > len(targets) / 2
  assert sum(value > 0 for value in refused.values()) > len(targets) / 2
  assert re.search(rf"{CASES} cases in \d+ s, 0 findings", done.stdout)


def test_an_unknown_target_is_named(targets):
  with pytest.raises(ValueError, match=r"got \['jpg'\], expected some of"):
    fuzz._names(targets, ["jpeg", "jpg"])
  assert fuzz._names(targets, []) == tuple(targets)


def plan(
  names: tuple[str, ...], stop: int, **changes: object
) -> fuzz_work.Plan:
  fields = {"seed": 0, "first": 0, "most_growth": 200_000_000}
  return fuzz_work.Plan(
    names=names, stop=stop, make=planted.make, **fields | changes
  )


def test_planted_faults_are_found(tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  monkeypatch.setenv("TMPDIR", str(tmp_path))  # of its processes
  names = ("sound", "raises", "hangs", "grows", "dies")
  stop = 40
  # Room for a reader that grows on a busy machine.
  outcome = fuzz_watch.run(plan(names, stop), case_seconds=1.5)
  kinds = collections.defaultdict(set)
  for finding in outcome.findings:
    assert finding.target == names[finding.case % len(names)]
    kinds[finding.target].add(finding.kind)
  assert kinds == {
    "raises": {"exception"},
    "hangs": {"hang"},
    "grows": {"memory"},
    "dies": {"crash"},
  }
  details = {f.target: f.detail for f in outcome.findings}
  assert "IndexError" in details["raises"] and "planted.py" in details["raises"]
  assert "planted.py" in details["hangs"]  # the stack says where
  assert "Segmentation fault" in details["dies"]
  # Each case that would strike did so: none was lost with a process.
  for name in ("raises", "hangs", "dies"):
    found = [f.case for f in outcome.findings if f.target == name]
    assert found == struck(names, name, stop)
  assert list(tmp_path.iterdir()) == []  # the crashed ones left nothing


def test_one_that_waits_hangs_too():
  """It needs none of the processor's time: told by the clock, ten times it."""
  names, stop = ("sound", "waits"), 12
  outcome = fuzz_watch.run(plan(names, stop), case_seconds=0.3)
  assert {f.kind for f in outcome.findings} == {"hang"}
  found = [f.case for f in outcome.findings]
  assert found == struck(names, "waits", stop)


def struck(names: tuple[str, ...], name: str, stop: int) -> list[int]:
  """Cases in which a planted fault strikes."""
  target = planted.make(pathlib.Path())[name]
  cases = [
    case
    for case in range(names.index(name), stop, len(names))
    if len(fuzz_work.input_of(target, 0, case)) > 40
  ]
  assert cases
  return cases


def test_no_case_begins_after_the_time(monkeypatch):
  outcome = fuzz_watch.run(plan(("sound",), 100, until=0.0), case_seconds=1)
  assert outcome.cases == 0


def test_a_case_is_the_same_bytes_in_every_process(targets):
  script = """
import hashlib, pathlib, sys, tempfile
from unialign_jax.bench import fuzz_targets, fuzz_work
with tempfile.TemporaryDirectory() as folder:
  targets = fuzz_targets.make(pathlib.Path(folder))
  for case in range(40):
    data = fuzz_work.input_of(targets["png"], 3, case)
    print(hashlib.sha256(data).hexdigest())
"""
  runs = [
    subprocess.run(
      [sys.executable, "-c", script],
      env=os.environ | {"PYTHONHASHSEED": seed},
      capture_output=True,
      text=True,
      check=True,
    ).stdout.split()
    for seed in ("1", "2")
  ]
  assert runs[0] == runs[1] and len(set(runs[0])) == 40


def test_mutations_change_and_stay_small():
  rng = random.Random(0)
  data = bytes(range(200))
  others, tokens = [bytes(300)], [b"<token>"]
  made = [
    fuzz_mutate.mutate(data, rng, others=others, tokens=tokens)
    for _ in range(500)
  ]
  assert sum(each != data for each in made) > 480
  assert len(set(made)) > 450
  assert any(b"<token>" in each for each in made)
  assert max(map(len, made)) < 4000
  assert fuzz_mutate.mutate(b"", rng) is not None


def test_repaired_checksums_are_right(targets):
  """What whole files have is left as it is; what is damaged is made right."""
  repairs = {name: t.repair for name, t in targets.items() if t.repair}
  assert set(repairs) == {"png", "tar", "record"}
  for name, repair in repairs.items():
    for seed in targets[name].seeds:
      if name == "tar":  # the mark after a checksum is written in two ways
        assert len(repair(seed)) == len(seed)
      else:
        assert repair(seed) == seed
  damaged = bytearray(targets["record"].seeds[0])
  damaged[-1] ^= 1
  targets["record"].read(fuzz_repair.record(bytes(damaged)))
  header = bytearray(targets["tar"].seeds[0])
  header[0:3] = b"abc"
  targets["tar"].read(fuzz_repair.tar(bytes(header)))
