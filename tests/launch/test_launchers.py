"""The launchers as texts: they parse, fit together, and are documented."""

import dataclasses
import math
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from tests.launch import commands
from tests.launch import programs
from unialign_jax import sharding

_DOCS = programs.LAUNCH.parent / "docs" / "launching.md"
_SCRIPTS = sorted(
  [*programs.LAUNCH.glob("*.sh"), *programs.LAUNCH.glob("*.sbatch")]
)
# Node selectors of GKE, and the chips of a host in slices of many.
_ACCELERATORS = {
  "tpu-v5-lite-podslice": 4,
  "tpu-v5p-slice": 4,
  "tpu-v6e-slice": 4,
}


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script: pathlib.Path):
  subprocess.run(["bash", "-n", script], check=True)


def test_shellcheck_finds_nothing():
  if not (shellcheck := shutil.which("shellcheck")):
    pytest.skip("shellcheck is not on PATH")
  done = subprocess.run(
    [shellcheck, "--shell=bash", "--external-sources", *_SCRIPTS],
    cwd=programs.LAUNCH.parent,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
  "name", ["run_forever.sh", "tpu_vm.sh", "tpu_host.sh", "slurm.sbatch"]
)
def test_settings_are_documented(name: str):
  text = (programs.LAUNCH / name).read_text()
  settings = set(re.findall(r"\$\{([A-Z_]+):[-?]", text))
  for names in re.findall(r"^ +need ([A-Z ]+)$", text, re.MULTILINE):
    settings |= set(names.split())
  given_by_slurm = {s for s in settings if s.startswith("SLURM_")}
  documented = set(re.findall(r"`([A-Z_]+)`", _DOCS.read_text()))
  assert settings - given_by_slurm <= documented


@pytest.fixture(scope="module")
def jobset() -> dict:
  return yaml.safe_load((programs.LAUNCH / "gke_jobset.yaml").read_text())


@pytest.fixture(scope="module")
def slices(jobset: dict) -> dict:
  """The one kind of job, a slice each."""
  (job,) = jobset["spec"]["replicatedJobs"]
  return job


@pytest.fixture(scope="module")
def pod(slices: dict) -> dict:
  return slices["template"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: dict) -> dict:
  (container,) = pod["containers"]
  return container


def chips(pod: dict) -> int:
  topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
  return math.prod(map(int, topology.split("x")))


def test_hosts_are_a_whole_slice(slices: dict, pod: dict, container: dict):
  job = slices["template"]["spec"]
  on_host = container["resources"]["limits"]["google.com/tpu"]
  accelerator = pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"]
  assert on_host == _ACCELERATORS[accelerator]
  assert job["parallelism"] * on_host == chips(pod)
  assert job["completions"] == job["parallelism"]


def test_the_run_fits_the_slices(slices: dict, pod: dict, container: dict):
  words = container["command"]
  assert words[:2] == ["bash", "/unialign_jax/launch/run_forever.sh"]
  config, workdir = commands.parse(commands.train_words(words))
  count = slices["replicas"]
  mesh = dataclasses.asdict(config.mesh)
  sizes = sharding.mesh_sizes(**mesh, num_devices=count * chips(pod))
  # Parameters are shared out within a slice.
  assert sizes[:2] == (count, chips(pod))
  assert config.data.batch_size % math.prod(sizes) == 0
  assert workdir == "runs/stage2"


def test_folders_are_in_the_volume(pod: dict, container: dict):
  (mount,) = container["volumeMounts"]
  (volume,) = pod["volumes"]
  assert mount["name"] == volume["name"]
  assert container["workingDir"] == mount["mountPath"]
  values = {entry["name"]: entry["value"] for entry in container["env"]}
  assert values["JAX_PLATFORMS"] == "tpu,cpu"
  assert values["JAX_COMPILATION_CACHE_DIR"].startswith(mount["mountPath"])


def test_failures(jobset: dict, slices: dict, pod: dict, container: dict):
  """What run_forever.sh ends with for good ends all, anything else restarts."""
  assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  job = slices["template"]["spec"]
  assert job["backoffLimit"] == 0  # a pod that is lost is a job that failed
  assert pod["restartPolicy"] == "Never"  # podFailurePolicy asks for that
  (rule,) = job["podFailurePolicy"]["rules"]
  assert rule["action"] == "FailJob"
  assert rule["onExitCodes"]["containerName"] == container["name"]
  assert rule["onExitCodes"]["operator"] == "In"
  script = (programs.LAUNCH / "run_forever.sh").read_text()
  (line,) = re.findall(r"readonly mistake=(\d+) given_up=(\d+)", script)
  assert rule["onExitCodes"]["values"] == [int(status) for status in line]
  policy = jobset["spec"]["failurePolicy"]
  assert policy["maxRestarts"] > 0
  (rule,) = policy["rules"]
  assert rule["action"] == "FailJobSet"
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
  assert pod["terminationGracePeriodSeconds"] >= 120


def test_a_slice_is_a_node_pool(jobset: dict):
  key = "alpha.jobset.sigs.k8s.io/exclusive-topology"
  pool = "cloud.google.com/gke-nodepool"
  assert jobset["metadata"]["annotations"][key] == pool
