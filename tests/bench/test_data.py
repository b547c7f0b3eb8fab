"""The command as it is run, and what it found of this library's memory."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from unialign_jax import config as config_lib
from unialign_jax.bench import data as data_lib
from unialign_jax.bench import fresh
from unialign_jax.bench import photographs
from unialign_jax.bench import stages
from unialign_jax.data import pipeline
from unialign_jax.features import job
from unialign_jax.features import settings

REPOSITORY = pathlib.Path(data_lib.__file__).parents[2]
SMALL = (
  "--pictures=4",
  "--items=8",
  "--batches=2",
  "--batch_size=4",
  "--config.encoders.pooled_dim=16",
  "--config.pictures.resolution=32",
  "--config.writer.text_length=16",
  "--config.writer.batch_size=4",
  "--config.writer.processes=1",
  "--config.writer.chunk=4",
)
MIB = 2**20
SIDE = 256
ITEMS = 24
BATCH = 64
BATCHES = 8


@pytest.fixture
def start(tmp_path):
  """Starts the command in a session of its own, with an empty TMPDIR."""
  started = []
  (tmp_path / "scratch").mkdir()
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(REPOSITORY),
    "TMPDIR": str(tmp_path / "scratch"),
  }

  def begin(*args: str) -> subprocess.Popen:
    process = subprocess.Popen(
      [sys.executable, "-m", "unialign_jax.bench", *args],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
      cwd=tmp_path,
      start_new_session=True,
    )
    started.append(process)
    return process

  yield begin
  for process in started:
    process.kill()
    process.communicate()


def scratch(tmp_path: pathlib.Path) -> list[pathlib.Path]:
  return list((tmp_path / "scratch").iterdir())


def test_command(start, tmp_path) -> None:
  out = tmp_path / "out.json"
  process = start("data", *SMALL, f"--json={out}")
  printed, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert scratch(tmp_path) == []
  found = json.loads(out.read_text())
  assert found["machine"]["device_kind"] == "cpu"
  assert found["features"]["pictures"]["resolution"] == 32
  assert found["pipeline"]["batch_size"] == 4
  assert found["pipeline"]["num_threads"] == 8  # of base.py
  assert list(found["stages"]) == ["decode", "encode", "precompute", "pipeline"]
  for name, stage in found["stages"].items():
    unit, size = ("batches", 2) if name == "pipeline" else ("images", 8)
    assert stage["sizes"] == [size, 10 * size]
    assert len(stage["window_seconds"]) == 9
    rate = stage["rates"][f"{unit}_per_second"]
    assert 0 < rate["least"] <= rate["median"] <= rate["most"]
    middle = sorted(stage["window_seconds"])[4]
    assert rate["median"] == pytest.approx(size / middle)
    assert name in printed and f"{rate['median']:.1f}" in printed
    memory = stage["peak_memory"]
    assert memory["process"]["small_bytes"] > 50 * MIB
    with_child = memory["largest_child"]["large_bytes"] is not None
    assert with_child == (name in ("decode", "precompute"))
  rates = found["stages"]["pipeline"]["rates"]
  batches, examples, size = (
    rates[f"{unit}_per_second"]["median"]
    for unit in ("batches", "examples", "bytes")
  )
  assert examples == pytest.approx(4 * batches)
  # latents 4 x 4 x 16 twice, semantic features 16 twice, ids 16 twice, label
  # mask, record and source id
  example = 2 * 256 * 2 + 2 * 16 * 2 + 2 * 16 * 4 + 16 + 8 + 4
  assert size == pytest.approx(example * examples)


@pytest.mark.parametrize(
  ("stop", "stage", "items"),
  [(signal.SIGINT, "decode", 20000), (signal.SIGTERM, "encode", 160)],
)
def test_stopped_it_leaves_nothing(start, tmp_path, stop, stage, items) -> None:
  process = start("data", *SMALL, f"--items={items}")
  for line in process.stderr:
    if line.startswith(f"{stage}: 1"):
      break
  time.sleep(3)  # its processes have begun
  assert process.poll() is None and scratch(tmp_path)
  if stop == signal.SIGINT:
    os.killpg(process.pid, stop)  # as a terminal does
  else:
    process.send_signal(stop)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 130, errors
  assert "nothing is left behind" in errors and "Traceback" not in errors
  assert scratch(tmp_path) == []
  with pytest.raises(ProcessLookupError):  # its children ended too
    for _ in range(600):
      os.killpg(process.pid, 0)
      time.sleep(0.05)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["dta"], "error: got command 'dta', expected one of"),
    (["data", "--source=folder"], "--source, --root: got 'folder', None"),
    (["data", "--option=a=b"], "--option: got one without --source"),
    (
      ["data", "--source=folder", "--root=x", "--option=a"],
      "--option: got 'a', expected key=value",
    ),
    (["data", "--source=folder", "--root=no"], "no"),
    (["data", "--source=filder", "--root=."], "got source 'filder'"),
    (["data", "--items=2"], "--items: got 2, expected >= 8"),
    (["data", "--batches=0"], "batches"),
    (["data", "--training=bse.py"], "got 'bse.py', expected a path, or one of"),
    (["data", "--config.writer.chnk=2"], "chnk"),
    (["data", "--config.encoders.image="], "config.encoders.image"),
    (["data", "--scratch=no/such"], "--scratch: got no/such"),
    (["data", "--json=no/such/out"], "--json: got no/such/out"),
    (["data", "--sauce=folder"], "sauce"),
  ],
)
def test_a_mistake_is_one_message(start, tmp_path, args, message) -> None:
  process = start(args[0], *SMALL[3:], *args[1:])
  printed, errors = process.communicate(timeout=60)
  assert process.returncode == 1
  assert message in errors and not printed
  assert "Traceback" not in errors and errors.count("error") == 1
  assert "JAX" not in errors, "told only after JAX was started"
  assert scratch(tmp_path) == []


@pytest.fixture(scope="module")
def features() -> settings.FeaturesConfig:
  values = config_lib.load_file(str(data_lib._SMALL))
  values.encoders.pooled_dim = 512
  values.pictures.resolution = SIDE
  values.writer.update(text_length=16, batch_size=8, processes=1, chunk=4)
  return settings.from_dict(values)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> job.Data:
  folder = tmp_path_factory.mktemp("data") / "pictures"
  photographs.write(folder, 4)
  return job.Data(source="folder", root=folder)


@pytest.fixture(scope="module")
def precomputed(pictures, features, tmp_path_factory):
  """Folder of the larger set, and both runs."""
  parent = tmp_path_factory.mktemp("written")
  with pytest.MonkeyPatch.context() as patch:
    # glibc keeps freed memory by thread: tens of MiB, then no more.
    patch.setenv("MALLOC_ARENA_MAX", "1")
    runs = [
      fresh.run(
        stages.precompute, pictures, features, str(parent / str(n)), ITEMS, n
      )
      for n in (1, 10)
    ]
  return parent / "10", runs


def assert_flat(small: int, large: int, held: int) -> None:
  """`held`: what the longer run would have more, if it kept its data."""
  assert large - small < held / 2, f"{small / MIB:.0f} {large / MIB:.0f} MiB"


def test_decoding_holds_no_samples(pictures, features) -> None:
  small, large = (
    fresh.run(stages.decode, pictures, features, 2 * ITEMS, n) for n in (1, 10)
  )
  held = 9 * 2 * ITEMS * SIDE * SIDE * 3
  assert_flat(small.peak, large.peak, held)
  assert_flat(small.child_peak, large.child_peak, held)


@pytest.mark.slow
def test_precompute_holds_no_samples(precomputed) -> None:
  _, (small, large) = precomputed
  held = 9 * ITEMS * SIDE * SIDE * 3
  assert_flat(small.peak, large.peak, held)
  assert_flat(small.child_peak, large.child_peak, held)
  assert sum(large.value.amounts["images"]) == 9 * ITEMS


@pytest.mark.slow
def test_the_pipeline_holds_no_batches(precomputed) -> None:
  folder, _ = precomputed
  base = config_lib.load_file("base.py").data
  names = [field.name for field in dataclasses.fields(pipeline.DataConfig)]
  config = pipeline.DataConfig(
    **{name: base[name] for name in names} | {"batch_size": BATCH}
  )
  small, large = (
    fresh.run(stages.pipeline, str(folder), config, BATCHES, n) for n in (1, 10)
  )
  assert large.value.amounts["examples"] == (BATCHES * BATCH,) * 9
  assert_flat(small.peak, large.peak, sum(large.value.amounts["bytes"]))
