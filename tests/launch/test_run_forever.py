"""launch/run_forever.sh: when a command is started again, and when not."""

import json
import os
import pathlib
import re
import signal
import sys
import time

import pytest

from tests.launch import programs
from tests.launch import trainer


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> trainer.Runs:
  return trainer.Runs(tmp_path)


def test_a_finished_run_ends(runs: trainer.Runs):
  runs.plan("wants 300; saves 300; exit 0")
  done = runs.run()
  assert done.returncode == 0, done.stderr
  assert runs.starts == 1


def test_failures_with_progress_between_never_end_it(
  runs: trainer.Runs,
):
  runs.plan(
    "wants 300; saves 100; exit 1",
    "saves 200; kill -9 $$",
    "saves 250; exit 134",
    "saves 300; exit 0",
  )
  done = runs.run(MAX_FAILURES="1")
  assert done.returncode == 0, done.stderr
  assert runs.starts == 4
  # None of the pauses is longer than the first.
  assert runs.slept == 3


def test_a_run_saved_on_a_signal_from_elsewhere_goes_on(runs: trainer.Runs):
  runs.plan("wants 300; saves 100; exit 0", "saves 300; exit 0")
  assert runs.run().returncode == 0
  assert runs.starts == 2


def test_gives_up_without_progress(runs: trainer.Runs):
  # What is being written is not yet progress.
  unfinished = "mkdir -p run/checkpoints/step_00000200.orbax-checkpoint-tmp"
  runs.plan("wants 300; saves 100; exit 1", *[f"{unfinished}; exit 1"] * 9)
  done = runs.run(MAX_FAILURES="3", LONGEST_PAUSE="3", FIRST_PAUSE="2")
  assert done.returncode == 3, done.stderr
  assert runs.starts == 4
  assert re.findall(r"again in (\d+) s", done.stderr) == ["2", "2", "3"]
  assert runs.slept == 7


def test_a_mistake_is_not_tried_again(runs: trainer.Runs):
  runs.plan("exit 2", "wants 300; saves 300; exit 0")
  done = runs.run()
  assert done.returncode == 2, done.stderr
  assert runs.starts == 1


def test_what_trained_was_no_mistake(runs: trainer.Runs):
  runs.plan("wants 300; saves 100; exit 2", "exit 2")
  assert runs.run().returncode == 2
  assert runs.starts == 2


def test_an_end_after_the_last_checkpoint_is_a_finish(runs: trainer.Runs):
  # Of several hosts one may be aborted while the others leave.
  runs.plan("wants 300; saves 300; exit 134")
  assert runs.run().returncode == 0
  assert runs.starts == 1


def test_a_run_that_was_made_longer_is_not_finished(runs: trainer.Runs):
  runs.plan(
    "exit 1",  # before it has written its config
    "wants 600; saves 450; exit 1",
    "saves 600; exit 0",
  )
  folder = runs.folder / "run"
  (folder / "checkpoints" / "step_00000300").mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps({"train": {"steps": 300}}))
  assert runs.run().returncode == 0
  assert runs.starts == 3


def test_the_newest_checkpoint_by_number(runs: trainer.Runs):
  # 08 and 09 are no octal numbers; 100 is after 99 and before 1000.
  runs.plan("wants 100; saves 8; saves 99; saves 9; saves 100; exit 0")
  assert runs.run().returncode == 0


def test_a_last_checkpoint_that_is_seen_late(runs: trainer.Runs):
  runs.plan("wants 300; saves 200; exit 0", "exit 1")
  seen = "mkdir -p run/checkpoints/step_00000300"
  runs.fakes.add("sleep", seen)
  assert runs.run().returncode == 0
  assert runs.starts == 1


# Saves and ends as train.py does, and notes every signal.
_STOPS = (
  "wants 300; saves 100; trap 'echo TERM >>signals; saves 120; exit 0'"
  " TERM; trap 'echo INT >>signals; saves 120; exit 0' INT; touch ready;"
  " for i in {1..300}; do /bin/sleep 0.1; done; exit 7"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_once_and_ends_it(
  runs: trainer.Runs, number: signal.Signals
):
  runs.plan(_STOPS, "exit 0")
  process = runs.begin()
  # As a terminal does with Ctrl-C, to the whole process group.
  os.killpg(process.pid, number)
  _, told = process.communicate(timeout=60)
  assert process.returncode == 128 + number, told
  said = (runs.folder / "signals").read_text().split()
  assert said == [number.name.removeprefix("SIG")]
  assert (runs.folder / "run/checkpoints/step_00000120").exists()
  assert runs.starts == 1


def test_a_signal_at_the_end_of_the_run(runs: trainer.Runs):
  runs.plan(_STOPS.replace("wants 300", "wants 120"))
  process = runs.begin()
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  assert process.returncode == 0


def test_a_signal_in_a_pause(runs: trainer.Runs):
  runs.plan("wants 300; touch ready; exit 1", "exit 0")
  (runs.folder / "bin" / "sleep").unlink()
  process = runs.begin(FIRST_PAUSE="50")
  time.sleep(0.5)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 143
  assert runs.starts == 1


def test_a_command_that_asks_to_stop_in_place_of_a_signal(runs: trainer.Runs):
  ends = _STOPS.replace("do /bin", "do [[ ! -e stop ]] || exit 0; /bin")
  runs.plan(ends, "exit 0")
  process = runs.begin(STOP_COMMAND="touch stop")
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  assert process.returncode == 143
  assert not (runs.folder / "signals").exists()


def test_the_status_file(runs: trainer.Runs):
  runs.plan("cat status >seen; exit 2")
  process = runs.run(STATUS_FILE="status")
  assert process.returncode == 2
  word, number = (runs.folder / "seen").read_text().split()
  assert word == "running"
  assert int(number) > 0
  assert (runs.folder / "status").read_text() == "ended 2\n"


def test_the_command_gets_its_words_and_no_terminal(
  runs: trainer.Runs,
):
  runs.plan(
    '[[ $# == 3 && $3 == "a  b" ]] && ! read -r && wants 1 && saves 1; exit'
  )
  assert runs.run("trainer", "--workdir", "run", "a  b").returncode == 0


@pytest.mark.parametrize(
  ("words", "told"),
  [
    (("trainer",), "got no --workdir=DIR"),
    (("trainer", "--workdir=gs://bucket/run"), "mounted on every host"),
    (("no-such-trainer", "--workdir=run"), "got no-such-trainer"),
  ],
)
def test_refuses(runs: trainer.Runs, words: tuple[str, ...], told: str):
  runs.plan("exit 0")
  done = runs.run(*words)
  assert done.returncode == 2
  assert told in done.stderr
  assert runs.starts == 0


@pytest.mark.parametrize(
  "flag",
  [
    "--config.train.stepz=3",
    "--config.data.sources=(('nowhere', 1.0),)",
    "word",
  ],
)
def test_train_tells_a_mistake_by_its_status(tmp_path: pathlib.Path, flag: str):
  command = (sys.executable, "-m", "unialign_jax.train", "--config=tiny.py")
  done = programs.Programs(tmp_path / "bin").run(
    *(trainer.SCRIPT, *command, f"--workdir={tmp_path / 'run'}", flag),
    FIRST_PAUSE="0",
    MAX_FAILURES="2",
    JAX_PLATFORMS="cpu",
  )
  assert done.returncode == 2, done.stderr
  assert "no other start cures that" in done.stderr
  assert "Traceback" not in done.stderr
