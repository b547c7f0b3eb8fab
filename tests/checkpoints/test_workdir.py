"""Workdirs that cannot be used, or are in use; what is kept in them."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint


def test_a_file_is_no_workdir(tmp_path: pathlib.Path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match=r"--workdir: got .*file.*it is a file"):
    states.save(tmp_path / "file", 1)
  with pytest.raises(ValueError, match="a part of the path is a file"):
    states.save(tmp_path / "file/run", 1)
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / checkpoint.FOLDER).write_text("")
  with pytest.raises(ValueError, match="it is a file"):
    states.save(tmp_path / "run", 1)


def test_a_read_only_file_system(tmp_path: pathlib.Path):
  mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
  mounted = subprocess.run(mount, capture_output=True, text=True)
  if mounted.returncode:
    pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
  try:
    with pytest.raises(ValueError, match="file system is read-only"):
      states.save(tmp_path / "run", 1)
  finally:
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def locked_up() -> Iterator[pathlib.Path]:
  """A workdir that its user may look at, where the path to it is open."""
  with tempfile.TemporaryDirectory() as place:
    workdir = pathlib.Path(place) / "run"
    (workdir / checkpoint.FOLDER).mkdir(parents=True)
    pathlib.Path(place).chmod(0o755)
    workdir.chmod(0o555)
    yield workdir
    workdir.chmod(0o755)


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
  """Permissions do not bind root, so root becomes somebody else meanwhile."""
  user = os.geteuid()
  if not user:
    os.seteuid(65534)
  try:
    yield
  finally:
    os.seteuid(user)


def test_no_permission(locked_up: pathlib.Path):
  with _as_nobody():
    with pytest.raises(ValueError, match="no permission to write there"):
      states.save(locked_up, 1)
    with pytest.raises(ValueError, match="no permission to write there"):
      states.save(locked_up / "new", 1)


def test_one_run_at_a_time(tmp_path: pathlib.Path):
  opened = checkpoint.Checkpoints(tmp_path, states.config())
  with contextlib.closing(opened):
    with pytest.raises(
      checkpoint.InUseError, match=rf"trains \(pid {os.getpid()} on "
    ):
      checkpoint.Checkpoints(tmp_path, states.config())
    opened.save(1, states.state(1), states.position(1), force=True)
  states.assert_is(1, states.restore(tmp_path)[1])


def test_a_refused_run_leaves_the_workdir_free(tmp_path: pathlib.Path):
  states.save(tmp_path, 1)
  path = tmp_path / checkpoint.CONFIG_FILE
  whole = path.read_text()
  path.write_text(whole[:100])
  copy = "step_00000001/config/metadata is a copy"
  for _ in range(2):  # the lock is not what refuses the second
    with pytest.raises(ValueError, match=copy):
      states.restore(tmp_path)
  saved = tmp_path / checkpoint.FOLDER / "step_00000001/config/metadata"
  path.write_text(json.dumps(json.loads(saved.read_text())))
  assert states.restore(tmp_path)[0] == 1
  assert json.loads(path.read_text()) == json.loads(whole)


def test_newest_and_every_nth_are_kept(tmp_path: pathlib.Path):
  train = {"checkpoint_every": 2, "keep_checkpoints": 2, "keep_every": 6}
  states.save(tmp_path, *range(2, 19, 2), **train)
  assert states.names(tmp_path) == [
    f"step_{step:08d}" for step in (6, 12, 16, 18)
  ]
  states.assert_is(18, states.restore(tmp_path, **train)[1])


def test_what_is_never_saved_cannot_be_kept():
  with pytest.raises(
    ValueError, match=r"keep_every: got 3, .*multiple of .* 2"
  ):
    states.config(checkpoint_every=2, keep_every=3)
  with pytest.raises(ValueError, match=r"keep_every: got -2, expected >= 0"):
    states.config(checkpoint_every=2, keep_every=-2)


def test_old_ones_are_deleted_while_the_run_goes_on(tmp_path: pathlib.Path):
  opened = checkpoint.Checkpoints(tmp_path, states.config(keep_checkpoints=1))
  with contextlib.closing(opened):
    for step in (1, 2):
      opened.save(step, states.state(step), states.position(step), force=True)
      opened.wait()
    opened._cleaner.join()
    trash = tmp_path / checkpoint.FOLDER / "deleted"
    assert not list(trash.iterdir())
  assert states.names(tmp_path) == ["step_00000002"]


def test_a_name_left_by_a_kill_is_gone_at_the_next_start(
  tmp_path: pathlib.Path,
):
  states.save(tmp_path, 1)
  folder = tmp_path / checkpoint.FOLDER
  for name in ("step_00000002.orbax-checkpoint-tmp/state", "deleted/step_0"):
    (folder / name).mkdir(parents=True)
  (tmp_path / f"{checkpoint.CONFIG_FILE}.tmp").write_text("{")
  assert states.restore(tmp_path)[0] == 1
  assert states.names(tmp_path) == ["step_00000001"]
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    ".lock",
    "checkpoints",
    "config.json",
  ]
