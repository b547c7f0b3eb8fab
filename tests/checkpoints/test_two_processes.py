"""Two processes agree: on who may open a workdir, and on what is damaged."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint
from unialign_jax.checkpoint import checksums


def _start(workdir: pathlib.Path) -> list[subprocess.Popen]:
  with socket.create_server(("127.0.0.1", 0)) as server:
    coordinator = f"127.0.0.1:{server.getsockname()[1]}"
  return [
    subprocess.Popen(
      [
        *(sys.executable, "-m", "tests.checkpoints.pair"),
        *(workdir, coordinator, str(index)),
      ],
      cwd=pathlib.Path(__file__).parents[2],
      env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]


def _read(process: subprocess.Popen) -> dict:
  """The next line of JSON; gloo talks, too."""
  for line in process.stdout:
    if line.startswith("{"):
      return json.loads(line)
  raise AssertionError(process.stderr.read())


@pytest.fixture
def start() -> Iterator[Callable[[pathlib.Path], list[subprocess.Popen]]]:
  """`_start`, and none of what it has started is left."""
  with contextlib.ExitStack() as stack:

    def start(workdir: pathlib.Path) -> list[subprocess.Popen]:
      pair = _start(workdir)
      for process in pair:
        stack.callback(process.kill)
      return pair

    yield start


def test_both_use_the_same_step_and_save_together(
  start: Callable[[pathlib.Path], list[subprocess.Popen]],
  tmp_path: pathlib.Path,
):
  states.save(tmp_path, 1, 2, keep_checkpoints=3)
  damaged = tmp_path / checkpoint.FOLDER / "step_00000002/data/metadata"
  damaged.write_text(damaged.read_text().replace("2000006", "2000007"))
  holder = checkpoint.Checkpoints(tmp_path, states.config())
  damaged = damaged.parents[1].with_name("damaged_step_00000002")
  assert damaged.is_dir()
  damaged.rename(damaged.with_name("step_00000002"))
  with contextlib.closing(holder):
    pair = start(tmp_path)
    refused = [_read(process)["refused"] for process in pair]
    assert f"trains (pid {os.getpid()} on" in refused[0]
    assert f"process 0: InUseError: --workdir {tmp_path}" in refused[1]
  for process in pair:
    process.stdin.write("\n")
    process.stdin.flush()
  ends = [process.communicate(timeout=100) for process in pair]
  assert [p.returncode for p in pair] == [0, 0], ends[0][1] + ends[1][1]
  seen = [json.loads(out.splitlines()[-1]) for out, _ in ends]
  assert [s["latest"] for s in seen] == [1, 1]
  assert [s["position"] for s in seen] == [states.position(1)] * 2
  assert [s["rows"] for s in seen] == [[0, 16], [32, 48]]
  # Only one of them tells, and only one has renamed it.
  assert ["step 2: data/metadata" in err for _, err in ends] == [True, False]
  assert states.names(tmp_path) == [
    "damaged_step_00000002",
    "step_00000001",
    "step_00000002",
  ]
  # The files of both are covered.
  folder = tmp_path / checkpoint.FOLDER / "step_00000002"
  listed = json.loads((folder / checksums.FILE).read_text())
  for index in range(2):
    assert any(f"ocdbt.process_{index}/d/" in name for name in listed)
  assert not list(folder.rglob("checksums.*.json"))
  step, restored = states.restore(tmp_path)
  assert step == 2
  states.assert_is(2, restored)
