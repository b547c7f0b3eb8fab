"""launch/slurm.sbatch under a srun, scancel and scontrol that are not there."""

import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.launch import commands
from tests.launch import programs

SCRIPT = programs.LAUNCH / "slurm.sbatch"

# Like srun, it kills its tasks on SIGTERM; like tasks, it saves when asked.
_SRUN = """
mkdir -p runs/stage2/checkpoints
echo '{"train": {"steps": 9}}' >runs/stage2/config.json
printf '%s\\n' "$JAX_PLATFORMS" "$XLA_PYTHON_CLIENT_MEM_FRACTION" >seen
trap 'exit 137' TERM
case $PLAN in
  finish) mkdir runs/stage2/checkpoints/step_00000009 ;;
  fail) exit 1 ;;
  mistake) exit 2 ;;
  *)
    touch ready
    for i in {1..300}; do
      if [[ -e asked ]]; then
        mkdir "runs/stage2/checkpoints/step_0000000${PLAN#wait}"
        exit 0
      fi
      sleep 0.1
    done ;;
esac
"""


class Job:
  """A job of four nodes, on this machine."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    shutil.copytree(programs.LAUNCH, folder / "launch")
    self.fakes = programs.Programs(folder / "bin")
    self.fakes.add("srun", _SRUN)
    self.fakes.add("scancel", "touch asked")
    self.fakes.add("scontrol")

  def start(self, plan: str, *words: str, **settings: str) -> subprocess.Popen:
    slurm = {
      "PLAN": plan,
      "SLURM_SUBMIT_DIR": str(self.folder),
      "SLURM_JOB_ID": "77",
      "SLURM_JOB_NUM_NODES": "4",
      "SLURM_CPUS_PER_TASK": "12",
      "FEATURES": "/features",
      "FIRST_PAUSE": "0",
      "MAX_FAILURES": "2",
    }
    environment = self.fakes.environment(**(slurm | settings))
    return subprocess.Popen(
      # SLURM starts a copy, from a folder of its own.
      ["bash", shutil.copy(SCRIPT, self.folder / "script"), *words],
      env={k: v for k, v in environment.items() if v},
      cwd=self.folder,
      stderr=subprocess.PIPE,
      text=True,
    )

  def wait(self) -> None:
    deadline = time.monotonic() + 60
    while not (self.folder / "ready").exists():
      assert time.monotonic() < deadline
      time.sleep(0.02)


@pytest.fixture
def job(tmp_path: pathlib.Path) -> Job:
  return Job(tmp_path)


@pytest.mark.parametrize(
  ("plan", "status", "starts"),
  [("finish", 0, 1), ("fail", 3, 2), ("mistake", 2, 1)],
)
def test_an_end_that_is_not_queued_again(
  job: Job, plan: str, status: int, starts: int
):
  process = job.start(plan)
  _, told = process.communicate(timeout=60)
  assert process.returncode == status, told
  assert len(job.fakes.calls("srun")) == starts
  assert job.fakes.calls("scontrol", "scancel") == []


@pytest.mark.parametrize(
  ("number", "queued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)]
)
def test_a_signal_saves_and_only_slurms_own_queues_again(
  job: Job, number: signal.Signals, queued: bool
):
  process = job.start("wait4")
  job.wait()
  process.send_signal(number)
  _, told = process.communicate(timeout=60)
  assert process.returncode == 143, told
  assert (job.folder / "runs/stage2/checkpoints/step_00000004").exists()
  (asked,) = job.fakes.calls("scancel")
  assert asked == ["scancel", "--signal=TERM", "77"]
  again = [["scontrol", "requeue", "77"]] if queued else []
  assert job.fakes.calls("scontrol") == again
  assert len(job.fakes.calls("srun")) == 1


def test_two_signals(job: Job):
  job.fakes.add("scancel", "sleep 1; touch asked")
  process = job.start("wait4")
  job.wait()
  process.send_signal(signal.SIGUSR1)
  time.sleep(0.3)
  process.send_signal(signal.SIGTERM)
  # Not communicate(), which waits for all that writes to stderr.
  assert process.wait(timeout=60) == 143
  assert (job.folder / "runs/stage2/checkpoints/step_00000004").exists()
  assert job.fakes.calls("scontrol") == [["scontrol", "requeue", "77"]]


def test_a_run_that_the_signal_finds_at_its_end(job: Job):
  process = job.start("wait9")
  job.wait()
  process.send_signal(signal.SIGUSR1)
  process.communicate(timeout=60)
  assert process.returncode == 0
  assert job.fakes.calls("scontrol") == []


def test_the_run(job: Job):
  (job.folder / "data").mkdir()
  process = job.start(
    "finish", "--config.seed=5", SHARED=str(job.folder / "data")
  )
  _, told = process.communicate(timeout=60)
  assert process.returncode == 0, told
  (call,) = job.fakes.calls("srun")
  assert "--cpus-per-task=12" in call
  assert str(job.folder / ".venv/bin/python") in call
  config, workdir = commands.parse(commands.train_words(call))
  assert (config.seed, config.mesh.data, workdir) == (5, 4, "runs/stage2")
  assert config.data.root == "/features"
  (option,) = config.train.compiler_options
  assert option == ("xla_gpu_enable_latency_hiding_scheduler", "True")
  seen = (job.folder / "data" / "seen").read_text().split()
  assert seen == ["cuda,cpu", ".9"]
  gpus = 4 * int(directives()["gpus-per-node"])
  assert config.data.batch_size % gpus == 0


def test_features_have_to_be_named(job: Job):
  process = job.start("finish", FEATURES="")
  _, told = process.communicate(timeout=60)
  assert process.returncode == 1
  assert "FEATURES: expected the folder of the feature sets" in told


def directives() -> dict[str, str]:
  """The #SBATCH lines, which sbatch reads up to the first command."""
  head, _, rest = SCRIPT.read_text().partition("\nset -euo pipefail")
  assert "#SBATCH" not in rest
  assert all(not line or line[0] == "#" for line in head.splitlines())
  found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", head, re.MULTILINE)
  assert len(found) == head.count("\n#SBATCH")
  return dict(found)


def test_what_is_asked_of_slurm():
  asked = directives()
  # One task a GPU, each seeing all of its node's.
  assert asked["ntasks-per-node"] == asked["gpus-per-node"]
  assert not {"gpus-per-task", "gpu-bind", "ntasks-per-gpu"} & set(asked)
  # The script alone is told of the end, in time to save.
  signal_, seconds = asked["signal"].split("@")
  assert signal_ == "B:USR1"
  assert int(seconds) >= 120
  assert asked["open-mode"] == "append"
  assert "requeue" in asked
