"""A training run under its supervisor, watched, and killed where that is asked.

What a process holds (memory, files, threads) is read from /proc once a second.
"""

import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from unialign_jax import checkpoint
from unialign_jax.training import logger

_PROC = pathlib.Path("/proc")
_SUPERVISOR = (
  pathlib.Path(__file__).parents[2].joinpath("launch", "run_forever.sh")
)
_SECONDS = 1.0  # between two looks
_PATIENCE = 300.0  # seconds in which a run that was asked to is to end
# Exit status of a supervisor that was: 128 + SIGTERM.
ASKED_TO_END = 143
# In turn, so that a soak of few kills has both.
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
  """What the training process held at one moment.

  Attributes:
    seconds: since the run began.
    pid: of the process.
    saves: that it had finished.
    memory: resident bytes.
    files: open descriptors.
    threads: in it.
  """

  seconds: float
  pid: int
  saves: int
  memory: int
  files: int
  threads: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kill:
  """One of them: when, since the run began, and with which signal."""

  seconds: float
  signal: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
  """A run that has ended.

  Attributes:
    status: exit status of the supervisor.
    seconds: it took.
    looks: a second apart.
    kills: in order.
  """

  status: int
  seconds: float
  looks: list[Look]
  kills: list[Kill]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kills:
  """When to kill: after a time between `least` and `most` seconds of steps.

  Attributes:
    least, most: seconds since the first step of the process.
    seed: of the times.
    until: seconds after the run's first step, when it is asked to save and
      end.
  """

  least: float
  most: float
  seed: int
  until: float


def run(
  flags: Sequence[str],
  workdir: pathlib.Path,
  folder: pathlib.Path,
  kills: Kills | None,
) -> Watched:
  """Trains under `launch/run_forever.sh` until the last step, or `until`.

  Args:
    flags: of `unialign_jax.train`.
    workdir: of the run.
    folder: receives tmp/, cache/ and supervisor.log.
    kills: None leaves the run alone.

  Raises:
    RuntimeError: it did not end when it was asked to.
  """
  for name in ("tmp", "cache"):
    (folder / name).mkdir(parents=True, exist_ok=True)
  environment = {
    **os.environ,
    "TMPDIR": str(folder / "tmp"),
    "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    "FIRST_PAUSE": "1",  # there is no other host to wait for
  }
  command = ["bash", str(_SUPERVISOR), sys.executable, "-m"]
  with (folder / "supervisor.log").open("ab") as log:
    supervisor = subprocess.Popen(
      [*command, "unialign_jax.train", f"--workdir={workdir}", *flags],
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=log,
      start_new_session=True,
    )
  try:
    return _watch(supervisor, workdir, kills)
  finally:
    _end(supervisor)


def _watch(
  supervisor: subprocess.Popen, workdir: pathlib.Path, kills: Kills | None
) -> Watched:
  began = time.monotonic()
  metrics = workdir / logger.METRICS_FILE
  chance = random.Random(kills.seed if kills else 0)
  looks: list[Look] = []
  done: list[Kill] = []
  pid, told, kill_at = 0, 0, None
  newest, saves = -1, 0
  end_at = float("inf")
  while supervisor.poll() is None:
    time.sleep(_SECONDS)
    now = time.monotonic() - began
    found = _children(supervisor.pid)
    if not found:
      continue
    if found[0] != pid:
      pid, told, kill_at = found[0], _size(metrics), None
      newest, saves = _newest(workdir), 0
    if kills and kill_at is None and _size(metrics) > told:
      kill_at = now + chance.uniform(kills.least, kills.most)
      end_at = min(end_at, now + kills.until)
    # Only a process that takes steps, and has not been killed, saves and ends.
    if now >= end_at and kill_at is not None and kill_at < float("inf"):
      supervisor.terminate()
      _wait(supervisor)
      break
    if (latest := _newest(workdir)) != newest:
      newest, saves = latest, saves + 1
    if (look := _look(pid, now, saves)) is not None:
      looks.append(look)
    if kill_at is not None and now >= kill_at:
      number = _SIGNALS[len(done) % len(_SIGNALS)]
      os.kill(pid, number)
      done.append(Kill(seconds=now, signal=number.name))
      kill_at = float("inf")  # until there is another process
  return Watched(
    status=supervisor.returncode,
    seconds=time.monotonic() - began,
    looks=looks,
    kills=done,
  )


def _newest(workdir: pathlib.Path) -> int:
  """Step of the newest finished checkpoint, -1 for none."""
  names = (p.name[5:] for p in (workdir / checkpoint.FOLDER).glob("step_*"))
  return max((int(name) for name in names if name.isdigit()), default=-1)


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _wait(supervisor: subprocess.Popen) -> None:
  try:
    supervisor.wait(_PATIENCE)
  except subprocess.TimeoutExpired:
    raise RuntimeError(
      f"the run under {_SUPERVISOR.name}: got no end {_PATIENCE:.0f} s after"
      " SIGTERM, expected a checkpoint and an end; see supervisor.log"
    ) from None


def _end(supervisor: subprocess.Popen) -> None:
  """Leaves no process behind, whatever happened."""
  if supervisor.poll() is None:
    for pid in _children(supervisor.pid):
      os.kill(pid, signal.SIGKILL)
    supervisor.kill()
    supervisor.wait()


def _look(pid: int, now: float, saves: int) -> Look | None:
  """None where the process has just ended."""
  try:
    status = (_PROC / str(pid) / "status").read_text()
    files = len(os.listdir(_PROC / str(pid) / "fd"))
  except OSError:
    return None
  fields = dict(
    line.split(":", 1) for line in status.splitlines() if ":" in line
  )
  if "VmRSS" not in fields:  # a zombie has no memory
    return None
  return Look(
    seconds=now,
    pid=pid,
    saves=saves,
    memory=int(fields["VmRSS"].split()[0]) * 1024,
    files=files,
    threads=int(fields["Threads"]),
  )


def _children(parent: int) -> list[int]:
  """Training processes that a supervisor has started, by process id."""
  found = []
  for path in _PROC.glob("[0-9]*/stat"):
    try:
      # The name, in brackets, may hold anything; state and parent follow it.
      state, owner = path.read_text().rpartition(")")[2].split()[:2]
      command = path.with_name("cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended
      continue
    is_training = b"unialign_jax.train" in command
    if int(owner) == parent and state != "Z" and is_training:
      found.append(int(path.parent.name))
  return sorted(found)
