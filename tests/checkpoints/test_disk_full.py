"""A full disk: an error that helps, and older checkpoints as they were."""

import contextlib
import pathlib
import resource
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint
from unialign_jax.checkpoint import failure

_ROWS = 1 << 15  # 4 MB a kernel


@contextlib.contextmanager
def _limit(nbytes: int) -> Iterator[None]:
  """No file of this process grows beyond that."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
  """8 MB that are a file system of their own."""
  place = tmp_path / "disk"
  place.mkdir()
  mounted = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)],
    capture_output=True,
    text=True,
  )
  if mounted.returncode:
    pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
  yield place
  subprocess.run(["umount", str(place)], check=True)


def _save_large(opened: checkpoint.Checkpoints, step: int) -> None:
  opened.save(
    step, states.state(step, _ROWS), states.position(step), force=True
  )


def _assert_only_step_1(workdir: pathlib.Path) -> None:
  assert states.names(workdir) == ["step_00000001"]
  step, restored = states.restore(workdir)
  assert step == 1
  states.assert_is(1, restored)


_ASK = {
  "at the next step": lambda opened: opened.reached_preemption(),
  "at the next save": lambda opened: opened.save(
    3, states.state(3), states.position(3), force=True
  ),
  "when asked to wait": lambda opened: opened.wait(),
}


@pytest.mark.parametrize("when", _ASK)
def test_a_failed_save_is_told(when: str, tmp_path: pathlib.Path):
  states.save(tmp_path, 1)
  opened = checkpoint.Checkpoints(tmp_path, states.config())
  with contextlib.closing(opened), _limit(1 << 20):
    _save_large(opened, 2)
    if when == "at the next step":
      _until_saved(opened)
    with pytest.raises(checkpoint.SaveError) as told:
      _ASK[when](opened)
  message = str(told.value)
  assert "the checkpoint of step 2 could not be saved" in message
  assert f"{tmp_path}/checkpoints" in message and "[1]" in message
  assert " GiB (" in message and "are free" in message
  assert "keep_checkpoints" in message
  _assert_only_step_1(tmp_path)


def _until_saved(opened: checkpoint.Checkpoints) -> None:
  while opened._manager.is_saving_in_progress():
    pass


def test_a_failed_save_is_told_at_the_end(tmp_path: pathlib.Path):
  states.save(tmp_path, 1)
  opened = checkpoint.Checkpoints(tmp_path, states.config())
  with _limit(1 << 20):
    _save_large(opened, 2)
    with pytest.raises(checkpoint.SaveError, match="step 2 could not be saved"):
      opened.close()
  _assert_only_step_1(tmp_path)  # the lock is free, too


def test_the_step_that_failed_is_named(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  opened = checkpoint.Checkpoints(tmp_path, states.config())

  def fail(*unused: object, **named: object) -> None:
    raise OSError("no")

  with contextlib.closing(opened):
    opened.save(1, states.state(1), states.position(1), force=True)
    opened._manager.wait_until_finished()  # unseen by `opened`
    monkeypatch.setattr(opened, "_look_back", lambda: None)
    monkeypatch.setattr(opened._manager, "save", fail)
    with pytest.raises(checkpoint.SaveError, match="step 2 could not be saved"):
      opened.save(2, states.state(2), states.position(2), force=True)
  assert states.restore(tmp_path)[0] == 1


def test_room_is_given_back_while_others_still_write(tmp_path: pathlib.Path):
  part = tmp_path / checkpoint.FOLDER / "step_00000002.orbax-checkpoint-tmp"
  until = time.monotonic() + 0.5

  def write() -> None:
    while time.monotonic() < until:
      with contextlib.suppress(OSError):  # it was just deleted
        (part / "state").mkdir(parents=True, exist_ok=True)
        (part / "state/late").write_text("")

  other = threading.Thread(target=write)
  other.start()
  failure.remove_part(tmp_path, 2)
  other.join()
  assert states.names(tmp_path) == []


def test_a_full_disk(small_disk: pathlib.Path):
  workdir = small_disk / "run"
  states.save(workdir, 1)
  opened = checkpoint.Checkpoints(workdir, states.config())
  with contextlib.closing(opened):
    with pytest.raises(checkpoint.SaveError, match="make room"):
      _save_large(opened, 2)
      opened.wait()
    # What it had taken is free again, and a smaller one fits.
    opened.save(3, states.state(3), states.position(3), force=True)
  assert states.names(workdir) == ["step_00000001", "step_00000003"]
  states.assert_is(3, states.restore(workdir)[1])


def test_no_room_for_the_config_leaves_the_old_one(small_disk: pathlib.Path):
  workdir = small_disk / "run"
  states.save(workdir, 1)
  before = (workdir / checkpoint.CONFIG_FILE).read_text()
  filler = small_disk / "filler"
  with pytest.raises(OSError), filler.open("wb", buffering=0) as f:
    while True:
      f.write(b"x" * 4096)
  with pytest.raises(OSError, match="No space left"):
    states.restore(workdir, keep_checkpoints=1)
  assert (workdir / checkpoint.CONFIG_FILE).read_text() == before
  filler.unlink()
  assert states.restore(workdir)[0] == 1


def test_a_failed_save_is_no_mistake_of_the_user():
  # launch/run_forever.sh starts again after anything but a ValueError.
  assert not issubclass(checkpoint.SaveError, ValueError)
  assert not issubclass(checkpoint.InUseError, ValueError)
