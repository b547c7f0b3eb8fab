"""The time of a run: the clock, records over restarts, and real processes."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import pytest

from tests.training import toy
from unialign_jax.bench import goodput as bench
from unialign_jax.training import goodput
from unialign_jax.training import lines
from unialign_jax.training import rewinds
from unialign_jax.training import starts

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass
class _Time:
  """In place of the module `time` where it is read.

  Set for everybody, it would stop the clocks of event loops in other threads.
  """

  now: float = 100.0

  def monotonic(self) -> float:
    return self.now

  time = monotonic

  def pass_(self, seconds: float) -> None:
    self.now += seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> _Time:
  now = _Time()
  monkeypatch.setattr(goodput, "time", now)
  return now


def _without_zeros(clock: goodput.Clock) -> dict[str, float]:
  return {k: pytest.approx(v) for k, v in clock.seconds().items() if v}


def test_every_second_has_one_category(now: _Time) -> None:
  clock = goodput.Clock(age=3.0, earlier={"step": 50.0, "down": 7.0})
  now.pass_(1)
  clock.started()
  now.pass_(2)
  with clock.phase("data"):
    now.pass_(4)
  assert clock.latest == pytest.approx(4.0)
  clock.move(1.5, "data", "redone")
  with clock.phase("evaluation"):
    now.pass_(8)
    with clock.phase("checkpoint"):
      now.pass_(16)
    now.pass_(32)
  assert _without_zeros(clock) == {
    "step": 50.0,
    "down": 7.0,
    "start": 4.0,
    "other": 2.0,
    "data": 2.5,
    "redone": 1.5,
    "evaluation": 40.0,
    "checkpoint": 16.0,
  }


def test_an_error_in_a_phase_ends_it(now: _Time) -> None:
  clock = goodput.Clock()
  with pytest.raises(KeyError), clock.phase("data"):
    now.pass_(1)
    raise KeyError
  now.pass_(2)
  assert _without_zeros(clock) == {"data": 1.0, "start": 2.0}


def test_compilation_is_taken_out_of_its_phase_once(now: _Time) -> None:
  def tell(name: str, seconds: float) -> None:
    jax.monitoring.record_event_duration_secs(
      f"/jax/core/compile/{name}", seconds, fun_name="f"
    )

  with goodput.Clock() as clock:
    with clock.phase("step"):
      now.pass_(1)
      now.pass_(2)
      tell("jaxpr_trace_duration", 2.0)  # within the next one
      now.pass_(4)
      tell("jaxpr_trace_duration", 6.5)
      now.pass_(8)
      tell("backend_compile_duration", 8.0)
      now.pass_(16)
    tell("jaxpr_trace_duration", 0.0)
    assert (clock.compiled, clock.loaded) == ({"f": 1}, 0)
    jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
    tell("backend_compile_duration", 0.0)
    assert (clock.compiled, clock.loaded) == ({"f": 1}, 1)
    tell("backend_compile_duration", 0.0)
    assert (clock.compiled, clock.loaded) == ({"f": 2}, 1)
  tell("backend_compile_duration", 5.0)  # it no longer listens
  assert clock.compiled == {"f": 2}
  assert _without_zeros(clock) == {"compile": 14.5, "step": 16.5}


def test_age_is_that_of_the_process() -> None:
  code = (
    "import time; time.sleep(1)\n"
    "from unialign_jax.training import goodput\n"
    "print(goodput.process_age())"
  )
  began = time.monotonic()
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  whole = time.monotonic() - began
  assert 1.0 < float(done.stdout) < whole + 0.02


def test_a_line_that_a_kill_has_cut_is_not_read_and_goes(
  tmp_path: pathlib.Path,
) -> None:
  path = tmp_path / "x.jsonl"
  assert lines.read(path) == []
  lines.append(path, {"step": 1, "loss": float("nan")})
  with path.open("a") as file:
    file.write('{"step": 2, "lo')
  assert lines.read(path) == [{"step": 1, "loss": "nan"}]
  lines.append(path, {"step": 3})
  assert path.read_text() == '{"step": 1, "loss": "nan"}\n{"step": 3}\n'
  path.write_text("what\n{}\n")
  with pytest.raises(ValueError, match="line 1: got 'what'"):
    lines.read(path)


def test_damaged_lines_of_accounting_are_left_out_and_told(
  tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
  (tmp_path / "goodput.jsonl").write_bytes(
    b'{"event": "begin", "start": 1, "time": 5.0}\n'
    b'{"event": "begin", "start": "2", "time": 6.0}\n'
    b'{"event": "begin", "start": 2, "ti\xffe": 6.0}\n'
    b"[3]\n"
  )
  (tmp_path / "metrics.jsonl").write_bytes(
    b'{"step": 1, "time": 7.0, "start_number": 3, "seconds/step": 2.0}\n'
    b'{"step": 2, "time": 8.0, "seconds/st\x00ep": 3.0}\n'
    b'{"step": 4, "time": 9.0, "seconds/step": "4"}\n'
  )
  earlier = starts.read(tmp_path)
  assert (earlier.last_step, earlier.starts) == (4, 3)
  assert earlier.seconds == {"step": 2.0} and earlier.time == 7.0
  left_out = [r.getMessage() for r in caplog.records]
  for number, message in zip((2, 3, 4), left_out):
    assert f"{tmp_path / 'goodput.jsonl'}, line {number} is left" in message
  assert f"{tmp_path / 'metrics.jsonl'}, line 2 is left out" in left_out[3]
  assert len(left_out) == 4
  assert starts.Start(tmp_path, age=0.0, active=True).number == 4


@pytest.mark.parametrize("line", [b"\xff", b"[1]", b"{"])
def test_a_damaged_line_of_rewinds_ends_the_run(
  tmp_path: pathlib.Path, line: bytes
) -> None:
  """With other data it would be another run."""
  path = tmp_path / rewinds.FILE
  path.write_bytes(b"{}\n" + line + b"\n")
  with pytest.raises(ValueError, match=rf"{path}, line 2: got .*expected JSON"):
    rewinds.Rewinds(tmp_path, active=False)


def test_records_carry_on(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  wall = _Time(1000.0)
  monkeypatch.setattr(starts, "time", wall)
  with starts.Start(tmp_path, age=2.0, active=True) as first:
    first.step, first.reason = 3, "SIGTERM"
  (begin, end) = lines.read(tmp_path / starts.FILE)
  assert (begin["time"], begin["seconds/down"]) == (998.0, 0.0)
  assert (end["reason"], end["step"]) == ("SIGTERM", 3)
  wall.pass_(60.0)
  with (
    pytest.raises(KeyError),
    starts.Start(tmp_path, age=10.0, active=True) as second,
  ):
    raise KeyError
  assert second.number == 2
  begin, end = lines.read(tmp_path / starts.FILE)[2:]
  assert begin["seconds/down"] == pytest.approx(50.0)
  assert end["reason"] == "KeyError" and "step" not in end
  starts.Start(tmp_path, age=0.0, active=False).__enter__()
  assert len(lines.read(tmp_path / starts.FILE)) == 4
  # What is known last is where the next start goes on.
  metrics = {"step": 9, "time": 1100.0, "seconds/step": 70.0}
  lines.append(tmp_path / "metrics.jsonl", metrics)
  earlier = starts.read(tmp_path)
  assert (earlier.last_step, earlier.starts) == (9, 2)
  assert earlier.seconds == {"step": 70.0} and earlier.time == 1100.0


def _start(
  workdir: pathlib.Path,
  values: ml_collections.ConfigDict,
  compiled: pathlib.Path,
  *flags: str,
  module: tuple[str, ...] = ("unialign_jax.train",),
) -> subprocess.Popen:
  environment = {
    **os.environ,
    "JAX_NUM_CPU_DEVICES": "1",
    # Compiles in half the time.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "XDG_CACHE_HOME": str(compiled),
  }
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  return subprocess.Popen(
    [
      *(sys.executable, "-m", *module),
      *("--config=tiny.py", f"--workdir={workdir}"),
      *("--config.mesh.data=-1", "--config.train.checkpoint_every=4"),
      # A cosine has the number of steps in its program.
      "--config.optimizer.schedule=constant",
      f"--config.data.sources={values.data.sources!r}",
      *flags,
    ],
    cwd=ROOT,
    env=environment,
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )


def _end(*started: subprocess.Popen) -> None:
  try:
    for process in started:
      _, told = process.communicate(timeout=300)
      assert process.returncode == 0, told
  finally:
    for process in started:
      process.kill()


def _wait_for_step(workdir: pathlib.Path, step: int, *processes: Any) -> None:
  metrics = workdir / "metrics.jsonl"
  deadline = time.monotonic() + 200
  while not (metrics.exists() and metrics.read_text().count("\n") >= step):
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in processes)
    time.sleep(0.02)


@pytest.fixture(scope="module")
def killed(
  make_tiny: Callable[[], ml_collections.ConfigDict],
  tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pathlib.Path, float, float]:
  """A run that is killed and started again: workdir, begin and end."""
  workdir = tmp_path_factory.mktemp("killed")
  compiled = tmp_path_factory.mktemp("cache")
  values = make_tiny()
  began = time.time()
  process = _start(workdir, values, compiled, "--config.train.steps=100000")
  _wait_for_step(workdir, 11, process)
  process.send_signal(signal.SIGKILL)
  process.wait()
  taken = toy.lines(workdir / "metrics.jsonl")[-1]["step"]
  steps = f"--config.train.steps={taken + 6}"
  time.sleep(1.0)  # down
  _end(_start(workdir, values, compiled, steps))
  return workdir, began, time.time()


def _whole(line: dict[str, Any]) -> float:
  return sum(starts.seconds_of(line).values())


def test_the_categories_add_up_to_the_wall_time(
  killed: tuple[pathlib.Path, float, float],
) -> None:
  workdir, began, ended = killed
  metrics = toy.lines(workdir / "metrics.jsonl")
  for line in metrics:
    assert _whole(line) == pytest.approx(line["time"] - began, rel=0.01)
    assert min(starts.seconds_of(line).values()) >= 0
  own = toy.lines(workdir / "goodput.jsonl")
  assert [r["event"] for r in own] == ["begin", "begin", "end"]
  assert own[-1]["reason"] == "finished"
  # What follows the last record is the interpreter's own end.
  assert _whole(own[-1]) == pytest.approx(own[-1]["time"] - began, rel=0.01)
  assert own[-1]["time"] <= ended
  assert own[-1]["seconds/down"] >= 1.0
  assert all(own[-1][f"seconds/{name}"] > 0 for name in ("step", "redone"))


def test_steps_of_before_the_kill_are_redone(
  killed: tuple[pathlib.Path, float, float],
) -> None:
  workdir, _, _ = killed
  metrics = toy.lines(workdir / "metrics.jsonl")
  first = [m for m in metrics if m["start_number"] == 1]
  second = [m for m in metrics if m["start_number"] == 2]
  assert first[-1]["seconds/redone"] == 0
  assert second[0]["step"] <= first[-1]["step"]
  redone = [m for m in second if m["step"] <= first[-1]["step"]]
  new = second[len(redone) :]
  # The next step is under way when a step is read.
  assert redone[-1]["seconds/redone"] > 0
  assert redone[-1]["seconds/step"] - first[-1]["seconds/step"] < 0.1
  assert new[-1]["seconds/redone"] - redone[-1]["seconds/redone"] < 0.1
  assert new[-1]["seconds/step"] > redone[-1]["seconds/step"]


def test_a_second_start_compiles_nothing(
  killed: tuple[pathlib.Path, float, float],
) -> None:
  workdir, _, _ = killed
  metrics = toy.lines(workdir / "metrics.jsonl")
  compiled = {m["start_number"]: m["compiled_programs"] for m in metrics}
  assert compiled[1] > 2
  assert compiled[2] == 0


def test_a_later_start_of_two_processes_compiles_nothing(
  tiny: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  free_port: Callable[[], int],
) -> None:
  for steps in (3, 5, 7):
    port = free_port()
    _end(
      *(
        _start(
          tmp_path,
          tiny,
          tmp_path / f"cache of {index}",  # each host has its own
          f"--config.train.steps={steps}",
          # Process 0 hands out the list of steps: a program a length.
          "--config.train.keep_checkpoints=1",
          f"--coordinator=127.0.0.1:{port}",
          *("--num_processes=2", f"--process_id={index}"),
          module=("tests.training.toy", '{"spoiled": {}}'),
        )
        for index in range(2)
      )
    )
  ends = [r for r in lines.read(tmp_path / "goodput.jsonl") if "reason" in r]
  first, *later = [end["compiled"] for end in ends]
  assert sum(first.values()) > 10
  for compiled in later:
    # A sum by which orbax hands out what it has restored, at the second start.
    assert sum(compiled.values()) <= 1, compiled
    assert not any("step" in name for name in compiled), compiled
  assert ends[-1]["step"] == 7


def test_the_command_prints_every_start(
  killed: tuple[pathlib.Path, float, float], tmp_path: pathlib.Path
) -> None:
  workdir, began, _ = killed
  done = subprocess.run(
    [
      *(sys.executable, "-m", "unialign_jax.bench", "goodput", str(workdir)),
      *(f"--json={tmp_path / 'out.json'}", f"--plot={tmp_path / 'out.png'}"),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "| no record |" in done.stdout and "| finished |" in done.stdout
  told = json.loads((tmp_path / "out.json").read_text())
  assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
  last = toy.lines(workdir / "goodput.jsonl")[-1]
  assert told["wall_seconds"] == pytest.approx(last["time"] - began, rel=0.01)
  total = sum(told["seconds"].values())
  assert total == pytest.approx(told["wall_seconds"], rel=0.01)
  first, second = told["starts"]
  assert first["seconds"]["down"] == 0 < 1.0 <= second["seconds"]["down"]
  for start in (first, second):
    whole = sum(start["seconds"].values())
    assert whole == pytest.approx(start["wall"], rel=0.01)
  share = 100 * told["goodput"]
  assert f"goodput {share:.2f} %" in done.stdout


def test_a_folder_without_a_run_is_refused(tmp_path: pathlib.Path) -> None:
  with pytest.raises(ValueError, match=r"got no goodput\.jsonl"):
    bench.read(tmp_path)
