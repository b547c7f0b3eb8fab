"""Storage that is slow, fails, or changes while a run reads it.

`reader.py` reads in a process of its own; `storage.c` makes its reads fail.
"""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.features import fakes
from unialign_jax.data import damage
from unialign_jax.data import feature_set
from unialign_jax.data import shard_reader
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import writer

RECORDS = 9  # in shards of 4, 4 and 1
_TRIES = 5  # a record is asked for, before the run ends
SECOND = "shard-00001.arrayrecord"
LENGTH = 8
EXPECTATIONS = manifest_lib.Expectations(
  latent_shape=fakes.LATENT_SHAPE,
  text_length=LENGTH,
  vocab_size=fakes.VOCAB_SIZE,
  mask_id=fakes.MASK_ID,
  text_dim=fakes.TEXT_DIM,
  semantic_dim=fakes.SEMANTIC_DIM,
  semantic_tokens=0,
  max_cond=1,
  text_features="stored",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("whole")
  config = writer.WriterConfig(
    text_length=LENGTH,
    draws=2,
    shard_size=4,
    batch_size=4,
    feature_dtype="bfloat16",
  )
  samples = [fakes.sample(i) for i in range(RECORDS)]
  writer.write_features(samples, folder, fakes.nets(), config)
  return folder


@pytest.fixture
def folder(written: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  return shutil.copytree(written, tmp_path / "set")


def open_set(folder: pathlib.Path) -> feature_set.FeatureSet:
  counter = damage.DamageCounter(cap=0)
  return feature_set.FeatureSet(folder, EXPECTATIONS, counter)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  compiler = shutil.which("cc")
  if compiler is None or not sys.platform.startswith("linux"):
    pytest.skip("faults are injected by a C library under Linux: no cc here")
  built = tmp_path_factory.mktemp("library") / "storage.so"
  source = pathlib.Path(__file__).with_name("storage.c")
  command = [compiler, "-shared", "-fPIC", "-o", built, source, "-ldl"]
  subprocess.run(command, check=True)
  return built


# Root reads what it likes by two capabilities, which a process can give up.
_WITHOUT = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
  ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def permissions(tmp_path: pathlib.Path) -> None:
  """Skips where the reading process would read everything all the same."""
  path = tmp_path / "locked"
  path.write_text("")
  path.chmod(0)
  script = f"open({str(path)!r})"
  command = [sys.executable, "-c", _WITHOUT, "-c", script]
  if subprocess.run(command, capture_output=True).returncode == 0:
    pytest.skip("this process cannot give up reading what it may not read")


def read(
  folder: pathlib.Path,
  harm: Callable[[], object] = lambda: None,
  **environment: object,
) -> dict:
  """What the reading process tells; `harm` happens once the set is open."""
  settings = {name: str(value) for name, value in environment.items()}
  process = subprocess.Popen(
    [
      *(sys.executable, "-c", _WITHOUT),
      *("-m", "tests.faults.reader", str(folder), str(RECORDS)),
      json.dumps(dataclasses.asdict(EXPECTATIONS)),
    ],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | settings,
  )
  with process:
    first = process.stdout.readline()
    if first == "open\n":
      harm()
    out, log = process.communicate("\n", timeout=120)
  told = json.loads((out or first).splitlines()[-1])
  return told | {"log": log}


def test_slow_storage_gives_the_same(folder, library):
  told = read(
    folder, LD_PRELOAD=library, FAULT_PATH="set/", FAULT_SLOW_US=50_000
  )
  assert told["ids"] == list(range(RECORDS)) and told["damaged"] == 0
  assert told["seconds"] > RECORDS * 0.05


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_an_error_that_passes_costs_no_record(folder, library, number):
  told = read(
    folder,
    LD_PRELOAD=library,
    FAULT_PATH=SECOND,
    FAULT_ERRNO=number,
    FAULT_FROM=1,
    FAULT_TO=_TRIES,  # one less than would end the run
  )
  assert told["ids"] == list(range(RECORDS)) and told["damaged"] == 0
  assert told["log"].count("asking again") == _TRIES - 1
  assert os.strerror(number) in told["log"]


def test_an_error_that_stays_ends_the_run_and_is_no_damage(folder, library):
  told = read(
    folder,
    LD_PRELOAD=library,
    FAULT_PATH=SECOND,
    FAULT_ERRNO=errno.EIO,
    FAULT_FROM=1,
    FAULT_TO=10**6,
  )
  assert told["ids"] == [0, 1, 2, 3, 4] and told["damaged"] == 0
  assert told["log"].count("asking again") == _TRIES - 1
  for words in ("ShardError", SECOND, "Input/output error", "start the run"):
    assert words in told["error"]


def test_a_shard_deleted_before_it_is_opened_ends_the_run(folder):
  told = read(folder, (folder / SECOND).unlink)
  assert told["ids"] == [0, 1, 2, 3] and told["damaged"] == 0
  assert told["error"].startswith("ShardError")
  assert SECOND in told["error"] and "No such file" in told["error"]


def test_a_shard_that_comes_back_is_read(folder):
  shard, away = folder / SECOND, folder / "away"
  script = f"sleep 0.02; mv {away} {shard}"

  def harm():
    shard.rename(away)
    subprocess.Popen(["sh", "-c", script])

  told = read(folder, harm)
  assert told["ids"] == list(range(RECORDS)) and told["damaged"] == 0


def test_a_shard_that_was_exchanged_ends_the_run(folder):
  """Of the same size, and of one record instead of four."""
  other = folder / "shard-00002.arrayrecord"
  told = read(folder, lambda: shutil.copyfile(other, folder / SECOND))
  assert told["ids"] == [0, 1, 2, 3] and told["damaged"] == 0
  assert told["error"].startswith("ShardError")
  assert "1 records instead of 4" in told["error"]


def test_a_handle_that_went_stale_is_replaced(folder, monkeypatch):
  """As after a restart of a file server: only a new one reads."""
  monkeypatch.setattr(shard_reader, "PAUSES", (0.0,))
  opened = open_set(folder)
  opened.element(4, visit=0)
  number = next(
    int(link.name)
    for link in pathlib.Path("/proc/self/fd").iterdir()
    if os.path.realpath(link) == str((folder / SECOND).resolve())
  )
  with open(os.devnull, "wb") as unreadable:
    os.dup2(unreadable.fileno(), number)
  for index in (5, 6):
    assert int(opened.element(index, visit=0)["record_id"]) == index


def test_a_shard_cut_short_ends_the_run(folder):
  """Every record behind the cut would look damaged."""
  told = read(folder, lambda: os.truncate(folder / SECOND, 70_000))
  assert told["ids"] == [0, 1, 2, 3] and told["damaged"] == 0
  assert told["error"].startswith("ShardError") and "70000" in told["error"]


def test_a_shard_cut_short_after_it_was_opened_ends_the_run(written, tmp_path):
  shutil.copytree(written, tmp_path / "set")
  opened = open_set(tmp_path / "set")
  opened.element(4, visit=0)
  os.truncate(tmp_path / "set" / SECOND, 100)
  with pytest.raises(shard_reader.ShardError, match="100 bytes"):
    opened.element(5, visit=0)


@pytest.mark.usefixtures("permissions")
def test_permission_lost_while_reading_ends_the_run(folder):
  told = read(folder, lambda: (folder / SECOND).chmod(0))
  assert told["ids"] == [0, 1, 2, 3] and told["damaged"] == 0
  assert told["error"].startswith("ShardError")
  assert "Permission denied" in told["error"]


@pytest.mark.usefixtures("permissions")
@pytest.mark.parametrize(
  ("name", "words"),
  [
    (SECOND, "got a file that does not open (open() failed: Permission denied"),
    ("manifest.json", "expected a file that this process may read"),
    (".", "expected a file that this process may read"),
  ],
)
def test_permission_denied_at_the_start(folder, name, words):
  (folder / name).chmod(0)
  try:
    told = read(folder)
  finally:
    (folder / name).chmod(0o755)  # else what cleans up cannot
  assert told["error"].startswith("ManifestError")
  assert words in told["error"] and "Permission denied" in told["error"]


def test_a_set_through_symbolic_links_is_read(folder, tmp_path):
  """Shards on other disks, a folder under another name: as users have it."""
  (folder / SECOND).rename(tmp_path / "elsewhere")
  (folder / SECOND).symlink_to(tmp_path / "elsewhere")
  (tmp_path / "link").symlink_to(folder)
  opened = open_set(tmp_path / "link")
  assert [int(opened.element(i, 0)["record_id"]) for i in (0, 5)] == [0, 5]
