"""launch/tpu_host.sh: what happens on a host of a TPU slice."""

import hashlib
import pathlib
import shutil
import subprocess
import time

import pytest

from tests.launch import commands
from tests.launch import programs

# Trains until it is asked to save.
_TRAINER = """
mkdir -p runs/stage2/checkpoints/step_00000001
echo '{"train": {"steps": 2}}' >runs/stage2/config.json
printf '%s\\n' "$PWD" "$JAX_PLATFORMS" "$JAX_COMPILATION_CACHE_DIR" >seen
trap 'exit 0' TERM
touch ready
for i in {1..300}; do sleep 0.1; done
"""


class Host:
  """A home folder with the code, and a shared folder."""

  def __init__(self, home: pathlib.Path) -> None:
    self.code = home / "unialign_jax"
    self.shared = home / "shared"
    self.shared.mkdir()
    shutil.copytree(programs.LAUNCH, self.code / "launch")
    self.fakes = programs.Programs(home / "bin")
    self.fakes.add("mountpoint")
    self.fakes.add("python", _TRAINER, self.code / ".venv" / "bin" / "python")

  def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess:
    script = str(self.code / "launch" / "tpu_host.sh")
    settings = {"SHARED": str(self.shared), "BUCKET": "b"} | settings
    return self.fakes.run(script, *words, cwd=self.code.parent, **settings)

  @property
  def state(self) -> str:
    done = self.run("status")
    assert done.returncode == 0, done.stderr
    found, _, _ = done.stdout.partition(" on ")
    return found

  def wait(self) -> None:
    deadline = time.monotonic() + 60
    while not (self.shared / "ready").exists():
      assert time.monotonic() < deadline
      time.sleep(0.02)


@pytest.fixture
def host(tmp_path: pathlib.Path):
  host = Host(tmp_path)
  yield host
  host.run("stop")


def test_run_status_stop(host: Host):
  assert host.state == "run: none "
  done = host.run("run", "--config.optimizer.learning_rate=1e-5")
  assert done.returncode == 0, done.stderr
  assert host.state.startswith("run: running ")
  host.wait()
  # A run that is there already stays.
  assert host.run("run").returncode == 0
  assert host.run("stop").returncode == 0
  assert host.state == "run: ended 143"
  (call,) = host.fakes.calls("python")
  config, workdir = commands.parse(commands.train_words(call))
  assert config.optimizer.learning_rate == 1e-5
  assert config.data.root == "gs://b/features"
  assert workdir == f"runs/{config_name(call)}" == "runs/stage2"
  seen = (host.shared / "seen").read_text().split()
  shared = str(host.shared)
  assert seen == [shared, "tpu,cpu", f"{shared}/jax_cache"]
  (log,) = (host.shared / "runs/stage2/logs").iterdir()
  assert "step 1 is saved" in log.read_text()


def config_name(call: list[str]) -> str:
  (name,) = (w for w in call if w.startswith("--config="))
  return name.removeprefix("--config=").removesuffix(".py")


def test_another_config_has_a_workdir_of_its_own(host: Host):
  host.run("run", CONFIG="stage3.py")
  host.wait()
  (call,) = host.fakes.calls("python")
  config, workdir = commands.parse(commands.train_words(call))
  assert config.train.init_from == "runs/stage2"
  assert workdir == "runs/stage3"


def test_a_host_that_was_started_anew(host: Host):
  gone = subprocess.Popen(["true"])
  gone.wait()
  host.code.with_suffix(".status").write_text(f"running {gone.pid}\n")
  assert host.state == f"run: lost {gone.pid}"
  assert host.run("run").returncode == 0
  assert host.state.startswith("run: running ")


def test_run_again(host: Host):
  host.code.with_suffix(".status").write_text("ended 143\n")
  host.fakes.add("nohup", 'sleep 1; exec "$@"')
  assert host.run("run").returncode == 0
  assert host.state.startswith("run: running ")


def test_a_command_that_ends_at_once(host: Host):
  (host.code / ".venv" / "bin" / "python").unlink()
  assert host.run("run").returncode == 0
  deadline = time.monotonic() + 30
  while host.state.startswith("run: running"):
    assert time.monotonic() < deadline
  assert host.state == "run: ended 2"


def test_no_run_without_the_shared_folder(host: Host):
  host.fakes.add("mountpoint", "exit 1")
  done = host.run("run")
  assert done.returncode == 1
  assert "install first" in done.stderr
  assert host.state == "run: none "


def prepared(host: Host) -> None:
  """Makes launch/environment.sh find its environment finished."""
  text = ""
  for name in ("setup.py", "constraints.txt"):
    shutil.copy(programs.LAUNCH.parent / name, host.code)
    text += (host.code / name).read_text()
  wanted = hashlib.sha256(text.encode()).hexdigest() + "  -\n"
  (host.code / ".venv" / "installed").write_text(wanted)
  kept = 'cp "${@: -3:1}" "$(dirname "$0")/../kept"'
  host.fakes.add("pip", kept, host.code / ".venv" / "bin" / "pip")
  host.fakes.add("sudo")


def test_install(host: Host):
  prepared(host)
  host.fakes.add("mountpoint", "exit 1")
  done = host.run("install", NFS="10.0.0.2:/share")
  assert done.returncode == 0, done.stderr
  sudo = [" ".join(words[1:]) for words in host.fakes.calls("sudo")]
  assert any("install --yes nfs-common python3.11" in words for words in sudo)
  assert sudo[-1] == f"mount -t nfs 10.0.0.2:/share {host.shared}"
  (call,) = host.fakes.calls("pip")
  assert call[-2:] == ["jax[tpu]", "etils[epath-gcs]"]
  kept = (host.code / ".venv" / "kept").read_text()
  # jax[tpu] and the libtpu of plans exclude one another.
  assert "jax==" in kept
  assert "libtpu" not in kept


def test_install_not_under_a_run(host: Host):
  prepared(host)
  host.run("run")
  done = host.run("install", NFS="x")
  assert done.returncode == 1
  assert "stop it first" in done.stderr
  assert host.fakes.calls("sudo") == []
