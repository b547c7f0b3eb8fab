"""The command, as it is run: killed, interrupted, shared, verified, merged."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.features import pictures_folder
from tests.features import written
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.shapes import weights

REPOSITORY = pathlib.Path(__file__).parents[1]
COUNT = 120
SHARD = 4
SETTINGS = {
  "encoders.text": weights.TEXT_ENCODER,
  "encoders.tokenizer": weights.TOKENIZER,
  "encoders.text_dtype": "float32",
  "encoders.image": weights.VAE,
  "encoders.semantic": "pooled",
  "encoders.pooled_dim": 16,
  "pictures.resolution": 64,
  "writer.text_length": 24,
  "writer.draws": 2,
  "writer.shard_size": SHARD,
  "writer.batch_size": SHARD,
  "writer.processes": 1,
  "writer.chunk": 2,
  "writer.max_rejected": 20,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("data") / "pictures"
  pictures_folder.write(folder, COUNT)
  return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
  """Every process compiles what the first one compiled."""
  cache = str(tmp_path_factory.mktemp("cache"))
  return os.environ | {
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(REPOSITORY),
  }


@pytest.fixture(scope="module")
def start(root, environment):
  """Starts the command; processes that a test leaves are killed."""
  started = []

  def begin(out: pathlib.Path, *more: str, **settings) -> subprocess.Popen:
    command = [sys.executable, "-m", "unialign_jax.precompute", f"--out={out}"]
    if not {"--verify", "--merge"} & set(more):
      command += ["--config=features.py", "--source=folder", f"--root={root}"]
      merged = SETTINGS | {k.replace("__", "."): v for k, v in settings.items()}
      command += [f"--config.{key}={value}" for key, value in merged.items()]
    process = subprocess.Popen(
      [*command, *more],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
      cwd=out.parent,
    )
    started.append(process)
    return process

  yield begin
  for process in started:
    process.kill()
    process.communicate()


@pytest.fixture
def run(start):
  """Runs the command to its end: (exit code, output, errors)."""

  def finish(*args, **settings) -> tuple[int, str, str]:
    process = start(*args, **settings)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors

  return finish


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory) -> pathlib.Path:
  out = tmp_path_factory.mktemp("undisturbed") / "set"
  process = start(out)
  printed, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert f"{COUNT - 12} records in 30 shards, 12 items rejected" in printed
  assert f"{COUNT}/{COUNT}" in errors and "image/s" in errors
  return out


def finished(out: pathlib.Path) -> int:
  return len(list(out.glob("parts/shard-*.json")))


def wait_for(condition) -> None:
  deadline = time.monotonic() + 120
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def contents(out: pathlib.Path) -> dict[str, bytes]:
  """Files that are not the remains of a kill."""
  found = written.contents(out)
  return {name: data for name, data in found.items() if ".tmp-" not in name}


def test_rejected_items_are_told(undisturbed):
  manifest = manifest_lib.load(undisturbed)
  assert sum(manifest.rejected.values()) == 12
  assert manifest.rejected["empty caption"] == 6
  assert manifest.layout.source == "folder"
  lines = (undisturbed / "rejects.jsonl").read_text().splitlines()
  indices = [json.loads(line)["index"] for line in lines]
  assert indices == sorted([*range(7, COUNT, 20), *range(11, COUNT, 20)])


def test_killed_workers_write_the_same_set(start, undisturbed, tmp_path):
  """Two workers, five times killed at any moment of their work."""
  rng = random.Random(0)
  out = tmp_path / "set"
  seen = []
  for _ in range(5):
    before = finished(out)
    workers = [start(out, f"--worker={i}/2") for i in range(2)]
    wait_for(lambda before=before: finished(out) > before)
    for worker in rng.sample(workers, 2):
      time.sleep(rng.uniform(0, 0.1))
      worker.send_signal(signal.SIGKILL)
      worker.wait()
    seen.append(finished(out))
  assert not (out / manifest_lib.FILENAME).exists(), "killed too late"
  assert seen == sorted(set(seen))
  workers = [start(out, f"--worker={i}/2") for i in range(2)]
  for worker in workers:
    _, errors = worker.communicate(timeout=300)
    assert worker.returncode == 0, errors
  assert contents(out) == contents(undisturbed)


def test_an_interrupted_run_says_how_to_go_on(start, run, tmp_path):
  out = tmp_path / "set"
  before = 0
  for stop in (signal.SIGINT, signal.SIGTERM):
    process = start(out)
    wait_for(lambda before=before: finished(out) > before + 1)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    before = finished(out)
    assert before < COUNT // SHARD
  code, _, errors = run(out)
  assert code == 0
  assert f"{SHARD * before}/{COUNT}" in errors  # where the bar begins


def test_workers_numbered_by_their_environment_are_merged(
  start, run, undisturbed, environment, monkeypatch, tmp_path
):
  together = tmp_path / "together"
  for index in range(2):
    monkeypatch.setitem(environment, "SLURM_PROCID", str(index))
    monkeypatch.setitem(environment, "SLURM_NTASKS", "2")
    code, printed, errors = run(tmp_path / str(index), writer__processes=0)
    assert code == 0, errors
    assert f"worker {index} of 2 are finished" in printed
    shutil.copytree(tmp_path / str(index), together, dirs_exist_ok=True)
  code, printed, _ = run(together, "--merge")
  assert code == 0 and "108 records in 30 shards" in printed
  assert contents(together) == contents(undisturbed)


def test_verify(run, undisturbed, tmp_path):
  out = shutil.copytree(undisturbed, tmp_path / "set")
  code, printed, _ = run(out, "--verify")
  assert code == 0
  assert "108 records in 30 shards" in printed and "fault" not in printed
  for name in ("shard-00003.arrayrecord", "rejects.jsonl"):
    (out / name).unlink()
  code, printed, _ = run(out, "--verify")
  assert code == 1
  assert "fault: shard-00003.arrayrecord: got no file" in printed
  assert "fault: rejects.jsonl: got no file" in printed


@pytest.mark.parametrize(
  ("more", "message"),
  [
    (["--config.writer.shard_sice=5"], "shard_sice"),
    (["--config=feature.py"], "--config: got 'feature.py'"),
    (["--option=captions"], "--option: got 'captions', expected key=value"),
    (["--worker=2/2"], "worker, by --worker: got 2/2"),
    (["--root=/no/such/root"], "/no/such/root"),
  ],
)
def test_a_mistake_is_one_message(run, tmp_path, more, message):
  code, _, errors = run(tmp_path / "set", *more)
  assert code == 1
  assert message in errors
  assert "Traceback" not in errors
  assert not (tmp_path / "set").exists()
