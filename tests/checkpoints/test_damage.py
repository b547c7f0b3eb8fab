"""A checkpoint that is not what was written is found, named, not used."""

import contextlib
import errno
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint
from unialign_jax.checkpoint import checksums

_UNCOVERED = ("_CHECKPOINT_METADATA", "commit_success.txt", checksums.FILE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A run with the checkpoints of steps 1 and 2."""
  workdir = tmp_path_factory.mktemp("saved")
  states.save(workdir, 1, 2)
  return workdir


@pytest.fixture
def workdir(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """A copy, to be damaged."""
  shutil.copytree(saved, tmp_path / "run")
  return tmp_path / "run"


def _newest(workdir: pathlib.Path) -> pathlib.Path:
  return workdir / checkpoint.FOLDER / "step_00000002"


def _covered(folder: pathlib.Path) -> list[pathlib.Path]:
  files = [path for path in folder.rglob("*") if path.is_file()]
  return [
    p for p in files if p.relative_to(folder).as_posix() not in _UNCOVERED
  ]


def _flip(path: pathlib.Path, rng: np.random.Generator) -> None:
  """One bit anywhere in a file."""
  data = bytearray(path.read_bytes())
  data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  path.write_bytes(data)


def _largest(folder: pathlib.Path) -> pathlib.Path:
  """A file of arrays, of which orbax itself checks nothing."""
  return max(_covered(folder), key=lambda path: path.stat().st_size)


def _next_number(folder: pathlib.Path) -> None:
  """Another position in the data, still good JSON."""
  path = folder / "data/metadata"
  path.write_text(path.read_text().replace("2000006", "2000007"))


DAMAGE = {
  "a bit of the arrays": lambda f: _flip(_largest(f), np.random.default_rng(0)),
  "a digit of the position": _next_number,
  "end of the arrays": lambda f: _largest(f).write_bytes(
    _largest(f).read_bytes()[:-1]
  ),
  "empty index": lambda f: (f / "state/manifest.ocdbt").write_bytes(b""),
  "no names of arrays": lambda f: (f / "state/_METADATA").unlink(),
  "no position": lambda f: shutil.rmtree(f / "data"),
  "no state": lambda f: shutil.rmtree(f / "state"),
  "no checksums": lambda f: (f / checksums.FILE).unlink(),
  "no list of checksums": lambda f: (f / checksums.FILE).write_text("[1]"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_newest_sound_one_is_used(
  kind: str, workdir: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  DAMAGE[kind](_newest(workdir))
  step, restored = states.restore(workdir)
  assert step == 1
  states.assert_is(1, restored)
  assert states.names(workdir) == ["damaged_step_00000002", "step_00000001"]
  assert "step 2: " in caplog.text and "goes on from step 1" in caplog.text


def test_every_bit_of_every_file_counts(workdir: pathlib.Path):
  folder = _newest(workdir)
  rng = np.random.default_rng(1)
  covered = _covered(folder)
  assert len(covered) >= 12 and checksums.problem(folder) == ""
  for path in covered:
    name = path.relative_to(folder).as_posix()
    whole = path.read_bytes()
    for _ in range(5):
      _flip(path, rng)
      assert checksums.problem(folder).startswith(f"{name}: got CRC-32")
      path.write_bytes(whole)
    path.write_bytes(whole[:-1])
    assert f"got {len(whole) - 1} bytes" in checksums.problem(folder)
    path.unlink()
    assert checksums.problem(folder) == f"{name}: missing"
    path.write_bytes(whole)
  assert checksums.problem(folder) == ""


def test_orbax_alone_takes_a_flipped_bit(tmp_path: pathlib.Path):
  """Where it does no longer, checksums.py has lost its reason."""
  rng = np.random.default_rng(9)
  tree = {"kernel": rng.normal(size=(512, 512)).astype(np.float32)}
  with ocp.StandardCheckpointer() as writer:
    writer.save(tmp_path / "state", tree)
  _flip(_largest(tmp_path), rng)
  with ocp.StandardCheckpointer() as reader:
    got = reader.restore(tmp_path / "state", tree)
  assert np.sum(got["kernel"] != tree["kernel"]) > 0


def test_files_without_checksums_change_nothing(workdir: pathlib.Path):
  rng = np.random.default_rng(2)
  for name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
    path = _newest(workdir) / name
    whole = path.read_bytes()
    for _ in range(4):
      _flip(path, rng)
      step, restored = states.restore(workdir)
      assert step == 2
      states.assert_is(2, restored)
      path.write_bytes(whole)
    path.unlink()
    assert states.restore(workdir)[0] == 2


def test_damaged_checksums_never_let_damage_pass(workdir: pathlib.Path):
  folder = _newest(workdir)
  rng = np.random.default_rng(3)
  whole = (folder / checksums.FILE).read_bytes()
  _flip(_largest(folder), rng)
  for _ in range(200):
    (folder / checksums.FILE).write_bytes(whole)
    _flip(folder / checksums.FILE, rng)
    assert checksums.problem(folder)


def test_processes_share_the_files(workdir: pathlib.Path):
  _flip(_largest(_newest(workdir)), np.random.default_rng(4))
  told = [checksums.problem(_newest(workdir), i, 3) for i in range(3)]
  assert sorted(map(bool, told)) == [False, False, True]


def test_a_process_adds_up_what_it_has_written(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  added = []
  seal = checksums.seal

  def look(folder: pathlib.Path) -> None:
    added.append(json.loads((folder / "state/checksums.0.json").read_text()))
    seal(folder)

  monkeypatch.setattr(checksums, "seal", look)
  states.save(tmp_path, 1)
  (names,) = added
  assert names and all(n.startswith("ocdbt.process_0/") for n in names)


def test_what_cannot_be_looked_at_is_not_called_damaged(
  workdir: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  def refuse(path: pathlib.Path) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))

  monkeypatch.setattr(checksums, "_sum", refuse)
  with pytest.raises(OSError, match="Permission denied"):
    states.restore(workdir)
  assert states.names(workdir) == ["step_00000001", "step_00000002"]


def test_the_damaged_one_is_kept_and_its_step_saved_again(
  workdir: pathlib.Path,
):
  for _ in range(2):
    _next_number(_newest(workdir))
    states.save(workdir, 2)
    assert states.restore(workdir)[0] == 2
  assert states.names(workdir) == [
    "damaged_step_00000002",
    "damaged_step_00000002_2",
    "step_00000001",
    "step_00000002",
  ]


def test_what_the_run_itself_has_saved_is_looked_at(workdir: pathlib.Path):
  opened = checkpoint.Checkpoints(workdir, states.config())
  like = states.abstract(states.state(0))
  with contextlib.closing(opened):
    opened.save(3, states.state(3), states.position(3), force=True)
    opened.wait()
    states.assert_is(3, opened.restore(like))
    folder = _newest(workdir).with_name("step_00000003")
    _flip(_largest(folder), np.random.default_rng(8))
    with pytest.raises(ValueError, match="step_00000003 is damaged"):
      opened.restore(like)


def test_nothing_begins_anew_where_nothing_is_sound(workdir: pathlib.Path):
  for folder in (workdir / checkpoint.FOLDER).iterdir():
    (folder / "state/_METADATA").unlink()
  with pytest.raises(
    ValueError, match=r"none .*sound(.|\n)*step 2(.|\n)*step 1"
  ):
    states.restore(workdir)
  assert states.names(workdir) == ["step_00000001", "step_00000002"]


def test_strict_ends_at_damage(workdir: pathlib.Path):
  checkpoint.refuse_damage(workdir)
  checkpoint.refuse_damage(workdir / "none yet")
  _next_number(_newest(workdir))
  ended = subprocess.run(
    [
      *(sys.executable, "-m", "unialign_jax.train", "--config=tiny.py"),
      *(f"--workdir={workdir}", "--strict"),
    ],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert ended.returncode == 2
  assert "step 2: data/metadata: got CRC-32" in ended.stderr
  assert "without --strict, go on from 1" in ended.stderr
  assert states.names(workdir) == ["step_00000001", "step_00000002"]


@pytest.mark.parametrize(
  "read",
  [
    lambda workdir: checkpoint.load_params(workdir),
    lambda workdir: checkpoint.load_params(workdir, step=2, ema=False),
    lambda workdir: checkpoint.check_start(workdir, states.config()),
  ],
)
def test_weights_of_a_damaged_one_are_not_used(read, workdir: pathlib.Path):
  read(workdir)
  _flip(_largest(_newest(workdir)), np.random.default_rng(5))
  with pytest.raises(
    ValueError, match=r"step_00000002 is damaged: state/.*rename it to damaged_"
  ):
    read(workdir)


def test_weights_from_elsewhere_have_checksums(tmp_path: pathlib.Path):
  params = {"kernel": np.arange(4096, dtype=np.float32)}
  checkpoint.write_weights(tmp_path, states.config(), params, {})
  _, loaded = checkpoint.load_params(tmp_path)
  np.testing.assert_array_equal(loaded["kernel"], params["kernel"])
  folder = tmp_path / checkpoint.FOLDER / "step_00000000"
  _flip(_largest(folder), np.random.default_rng(6))
  with pytest.raises(ValueError, match="is damaged"):
    checkpoint.load_params(tmp_path)


def _forget_checksums(folder: pathlib.Path) -> None:
  """A checkpoint as an earlier version has left it."""
  (folder / checksums.FILE).unlink()
  path = folder / "_CHECKPOINT_METADATA"
  metadata = json.loads(path.read_text())
  path.write_text(json.dumps(metadata | {"custom_metadata": {}}))


def test_checkpoints_of_earlier_versions_are_read(workdir: pathlib.Path):
  _forget_checksums(_newest(workdir))
  step, restored = states.restore(workdir)
  assert step == 2
  states.assert_is(2, restored)
  (_newest(workdir) / "state/manifest.ocdbt").write_bytes(b"no index")
  with pytest.raises(
    ValueError, match=r"step_00000002 cannot be read .*rename"
  ):
    states.restore(workdir)
