"""Files seen whole or not at all; buckets by a file system in memory."""

import pathlib
from typing import ClassVar

import fsspec.implementations.memory
import pytest
from etils import epath
from etils.epath import backend

from tests.features import written
from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import merge
from unialign_jax.features import verify


class Bucket(fsspec.implementations.memory.MemoryFileSystem):
  """Takes gs:// names, and knows no rename."""

  store: ClassVar = {}
  pseudo_dirs: ClassVar = [""]

  @classmethod
  def _strip_protocol(cls, path):
    return super()._strip_protocol(str(path).removeprefix("gs:/"))

  def glob(self, path, **kwargs):
    return [found.lstrip("/") for found in super().glob(path, **kwargs)]

  def mv(self, *args, **kwargs):
    raise AssertionError("a bucket cannot move")

  rename = move = mv


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> epath.Path:
  file_system = Bucket(skip_instance_cache=True)
  file_system.store.clear()
  file_system.pseudo_dirs[:] = [""]
  kind = type(backend.fsspec_backend)
  local = kind._get_filesystem
  monkeypatch.setattr(
    kind,
    "_get_filesystem",
    lambda self, name: file_system if name == "gcs" else local(self, name),
  )
  return epath.Path("gs://bucket/set")


def names(folder: epath.Path) -> set[str]:
  return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("in_bucket", [False, True])
def test_a_file_is_whole_or_not_there(in_bucket, bucket, tmp_path):
  folder = bucket if in_bucket else epath.Path(tmp_path)
  path = folder / "a" / "b.json"
  with pytest.raises(KeyError), files.written(path) as name:
    name.write_bytes(b"half")
    raise KeyError
  assert not path.exists() and files.size(path) is None
  for data in (b"first", b"second"):
    files.write(path, data)
    assert path.read_bytes() == data
  assert files.size(path) == 6
  with files.local(path) as name:
    assert isinstance(name, pathlib.Path) and name.read_bytes() == b"second"


def test_what_a_kill_leaves_has_another_name(tmp_path):
  path = epath.Path(tmp_path / "a.json")
  with pytest.raises(KeyError), files.written(path):
    (tmp_path / files.temporary(path).name).touch()
    raise KeyError
  (left,) = tmp_path.iterdir()
  assert left.name.startswith("a.json.tmp-")


def test_a_feature_set_in_a_bucket_is_the_same(bucket, tmp_path):
  local = written.write(tmp_path)
  assert written.write(bucket, worker=(1, 2)) is None
  assert written.write(bucket, worker=(0, 2)) == local
  assert manifest_lib.load(bucket) == local
  assert verify.verify(bucket).faults == ()
  for name, data in written.contents(tmp_path).items():
    assert (bucket / name).read_bytes() == data
  assert names(bucket) == {path.name for path in tmp_path.iterdir()}
  (bucket / manifest_lib.FILENAME).unlink()
  assert merge.merge(bucket) == local
  (bucket / "shard-00002.arrayrecord").write_bytes(b"short")
  assert "got 5 bytes" in verify.verify(bucket).faults[0]
