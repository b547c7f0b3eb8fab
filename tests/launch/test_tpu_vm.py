"""launch/tpu_vm.sh: what it asks of gcloud, and when."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tests.launch import slices

NONE = "run: none\nrun: none\n"
INSTALL_AND_RUN = ["copy", "install", "run"]


@pytest.fixture
def slice_(tmp_path: pathlib.Path) -> slices.Slice:
  return slices.Slice(tmp_path)


def test_from_nothing_through_preemption_to_the_end(slice_: slices.Slice):
  slice_.then("")
  slice_.then("WAITING_FOR_RESOURCES")
  slice_.then("ACTIVE", "CREATING")
  slice_.then("ACTIVE", "READY", NONE)
  slice_.then("ACTIVE", "READY", "run: running 7 on a\nrun: running 8 on b\n")
  slice_.then("ACTIVE", "PREEMPTED")
  slice_.then("PROVISIONING")
  slice_.then("ACTIVE", "READY", NONE)
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\nrun: running 8 on b\n")
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\nrun: ended 0 on b\n")
  done = slice_.run("forever", "--config.seed=1")
  assert done.returncode == 0, done.stderr
  assert slice_.done == [
    *("create", *INSTALL_AND_RUN),
    *("delete", "create", *INSTALL_AND_RUN),
  ]
  assert slice_.is_over
  on_hosts = [c for c in slice_.calls if {"ssh", "scp"} & set(c)]
  assert all("--worker=all" in words for words in on_hosts)
  assert all({"--project=p", "--zone=z"} <= set(c) for c in slice_.calls)
  assert "--force" in slice_.asked("delete")
  (run,) = (w for w in slice_.asked("run") if w.startswith("--command="))
  assert "BUCKET=b" in run
  assert run.rstrip().endswith("tpu_host.sh run --config.seed=1")
  (install,) = (w for w in slice_.asked("install") if w.startswith("--comm"))
  assert "NFS=10.0.0.2:/share" in install


@pytest.mark.parametrize(
  ("queued", "node"),
  [
    ("SUSPENDED", None),
    ("FAILED", None),
    ("ACTIVE", ""),
    ("ACTIVE", "STOPPED"),
  ],
)
def test_a_slice_that_is_lost_is_asked_for_again(
  slice_: slices.Slice, queued: str, node: str | None
):
  slice_.then(queued, node)
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\n")
  assert slice_.run("forever").returncode == 0
  assert slice_.done == ["delete", "create"]


@pytest.mark.parametrize(
  "hosts",
  [
    "run: lost 7 on a\nrun: running 8 on b\n",  # a was started anew
    "run: ended 143 on a\nrun: ended 143 on b\n",
    "run: ended 0 on a\nrun: none\n",
  ],
)
def test_hosts_without_the_run_get_it_again(slice_: slices.Slice, hosts: str):
  slice_.then("ACTIVE", "READY", hosts)
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\nrun: ended 0 on b\n")
  assert slice_.run("forever").returncode == 0
  assert slice_.done == INSTALL_AND_RUN


@pytest.mark.parametrize("status", [2, 3])
def test_what_no_start_cures_ends_it(slice_: slices.Slice, status: int):
  hosts = f"run: running 7 on a\nrun: ended {status} on b\n"
  slice_.then("ACTIVE", "READY", hosts)
  done = slice_.run("forever")
  assert done.returncode == status
  assert "the slice is still there" in done.stderr
  assert slice_.done == []


def test_a_lost_network_changes_nothing(slice_: slices.Slice):
  slice_.then("", status=1)
  slice_.then("ACTIVE", "READY", "no answer")
  slice_.then("ACTIVE", "READY", "run: running 7 on a\n", fail="status")
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\n")
  done = slice_.run("forever", DELETE_FINISHED="1")
  assert done.returncode == 0, done.stderr
  assert slice_.done == ["delete"]
  assert slice_.is_over


def test_nothing_runs_where_the_installation_failed(slice_: slices.Slice):
  slice_.then("ACTIVE", "READY", NONE, fail="tpu_host.sh install")
  slice_.then("ACTIVE", "READY", NONE)
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\n")
  done = slice_.run("forever")
  assert done.returncode == 0, done.stderr
  assert slice_.done == ["copy", "install", *INSTALL_AND_RUN]
  assert "install failed" in done.stderr


@pytest.mark.parametrize(
  ("accelerator", "version"),
  [
    ("v5litepod-64", "v2-alpha-tpuv5-lite"),
    ("v5p-128", "v2-alpha-tpuv5"),
    ("v6e-64", "v2-alpha-tpuv6e"),
    ("v4-128", "tpu-ubuntu2204-base"),
  ],
)
def test_create(slice_: slices.Slice, accelerator: str, version: str):
  done = slice_.run(
    "create",
    ACCELERATOR=accelerator,
    SPOT="1",
    CREATE_FLAGS="--network=n --reserved",
  )
  assert done.returncode == 0, done.stderr
  assert slice_.asked("create") == [
    *("gcloud", "compute", "tpus", "queued-resources", "create", "stage2"),
    *("--node-id=stage2", f"--accelerator-type={accelerator}"),
    *(f"--runtime-version={version}", "--network=n", "--reserved", "--spot"),
    *("--project=p", "--zone=z", "--quiet"),
  ]


def test_create_another_image(slice_: slices.Slice):
  done = slice_.run("create", ACCELERATOR="v9-8")
  assert done.returncode == 1
  assert "VERSION" in done.stderr
  assert slice_.calls == []
  assert slice_.run("create", ACCELERATOR="v9-8", VERSION="x").returncode == 0
  assert "--runtime-version=x" in slice_.asked("create")


def test_all_that_is_missing_is_told_at_once(slice_: slices.Slice):
  done = slice_.run("forever", ZONE="", NFS="")
  assert done.returncode == 1
  assert "got no ZONE NFS" in done.stderr
  assert slice_.calls == []


@pytest.mark.parametrize("word", ["", "stpo", "need"])
def test_an_unknown_word(slice_: slices.Slice, word: str):
  done = slice_.run(word)
  assert done.returncode == 1
  assert "expected create, install" in done.stderr


def test_a_dry_run_prints_and_does_nothing(slice_: slices.Slice):
  done = slice_.run("forever", "--config.seed=1", DRY_RUN="1")
  assert done.returncode == 0, done.stderr
  assert slice_.calls == []
  lines = done.stdout.splitlines()
  found = [
    v for line in lines for k, v in slices.VERBS.items() if k in plain(line)
  ]
  assert found == ["create", *INSTALL_AND_RUN]
  assert "--config.seed=1" in plain(lines[-1])


def plain(line: str) -> str:
  """A printed command without the quotes of bash."""
  return line.replace("\\", "")


def test_gcloud_knows_what_it_is_asked(
  slice_: slices.Slice, tmp_path: pathlib.Path
):
  if not (gcloud := shutil.which("gcloud")):
    pytest.skip("gcloud is not on PATH")
  slice_.then("ACTIVE", "READY", NONE)
  slice_.then("SUSPENDED")
  slice_.then("ACTIVE", "READY", "run: ended 0 on a\n")
  assert slice_.run("forever", SPOT="1").returncode == 0
  environment = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "config")}
  asked: dict[tuple[str, ...], set[str]] = {}
  for call in slice_.calls:
    flags = {re.match("--[a-z-]+", w)[0] for w in call if w.startswith("--")}
    asked.setdefault(tuple(call[1:5]), set()).update(flags)
  assert len(asked) == 6, json.dumps([*asked])
  for command, flags in asked.items():
    told = subprocess.run(
      [gcloud, *command, "--help"],
      env=environment,
      capture_output=True,
      text=True,
      timeout=120,
      check=True,
    ).stdout
    known = set(re.findall("--[a-z-]+", re.sub("\x1b\\[[0-9;]*m", "", told)))
    known |= {"--filter", "--format", "--quiet", "--project"}  # every command's
    assert flags <= known, (command, flags - known)
