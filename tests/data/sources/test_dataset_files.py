"""Files are found in folders and buckets, named apart, and read lazily."""

import multiprocessing
import pickle

import pytest
from etils import epath
from etils.epath import backend as epath_backend
from fsspec.implementations import local

from tests.data.sources import written
from unialign_jax.data.sources import dataset_files


@pytest.fixture
def root(tmp_path):
  for name in ("b/2.tar", "a/1.tar", "0.tar", "a/note.txt", "a/deep/3.tar"):
    written.file(tmp_path / name, name)
  return tmp_path


@pytest.mark.parametrize(
  ("pattern", "expected"),
  [
    ("**/*.tar", ["0.tar", "a/1.tar", "a/deep/3.tar", "b/2.tar"]),
    ("*.tar", ["0.tar"]),
    ("a/*.tar", ["a/1.tar"]),
    ("a/**/?.tar", ["a/1.tar", "a/deep/3.tar"]),
    ("*tar", ["0.tar"]),
    ("**/*.tarr", []),
  ],
)
def test_finds_by_pattern(root, pattern, expected):
  found = dataset_files.find(root, pattern)
  assert found == [epath.Path(root) / name for name in expected]


def test_a_file_is_its_own_root(root):
  path = root / "a" / "1.tar"
  assert dataset_files.find(path, "**/*.tar") == [epath.Path(path)]
  assert dataset_files.find(path, "**/*.zip") == []
  assert dataset_files.find(root / "nowhere", "**/*.tar") == []


def test_brackets_and_dots_in_patterns_are_literal(tmp_path):
  written.file(tmp_path / "ai2d(cauldron,llava)[x]" / "1.tar", "")
  found = dataset_files.find(tmp_path, "ai2d(cauldron,llava)[x]/*.tar")
  assert len(found) == 1
  assert not dataset_files.matches("*.tar", "1_tar")
  assert not dataset_files.matches("**/1.tar", "a/01.tar")


class _Bucket(local.LocalFileSystem):
  """Answers as a bucket does: paths without their protocol."""

  @classmethod
  def _strip_protocol(cls, path):
    return str(path).removeprefix("gs://").rstrip("/")


@pytest.fixture
def bucket(root, monkeypatch):
  """`root` as gs://<its name>."""
  monkeypatch.chdir(root.parent)
  monkeypatch.setattr(
    epath_backend._FileSystemSpecBackend,
    "_get_filesystem",
    lambda self, name: _Bucket(),
  )
  return f"gs://{root.name}"


def test_finds_and_reads_in_a_bucket(bucket):
  found = dataset_files.find(bucket, "**/*.tar")
  assert [str(path) for path in found] == [
    f"{bucket}/{name}"
    for name in ("0.tar", "a/1.tar", "a/deep/3.tar", "b/2.tar")
  ]
  file = pickle.loads(pickle.dumps(dataset_files.LazyFile(found[2])))
  assert file.read(2, 6) == b"deep/3"


def test_stems_take_folders_where_they_repeat():
  paths = [epath.Path(f"/data/x/{name}") for name in ("a/0.tar", "b/0.tar")]
  assert dataset_files.stems(paths) == ["a/0", "b/0"]
  assert dataset_files.stems(paths[:1]) == ["0"]
  apart = [epath.Path("/data/a/00.tar"), epath.Path("/data/b/01.tar")]
  assert dataset_files.stems(apart) == ["00", "01"]
  deep = [epath.Path("/data/0.tar"), epath.Path("/data/b/0.tar")]
  assert dataset_files.stems(deep) == ["0", "b/0"]


def test_a_read_file_pickles_and_closes(root):
  file = dataset_files.LazyFile(epath.Path(root) / "0.tar")
  assert file.read(2, 100) == b"tar"
  copy = pickle.loads(pickle.dumps(file))
  handle = file.open()
  file.close()
  assert handle.closed
  assert copy.read(0, 1) == file.read(0, 1) == b"0"


def _child_reads(file, queue):
  queue.put(file.open().fileno())
  queue.put(file.read(3, 2))


def test_a_forked_process_opens_its_own(root):
  file = dataset_files.LazyFile(epath.Path(root) / "0.tar")
  handle = file.open()
  handle.seek(1)
  context = multiprocessing.get_context("fork")
  queue = context.Queue()
  child = context.Process(target=_child_reads, args=(file, queue))
  child.start()
  assert queue.get(timeout=60) != handle.fileno()
  assert queue.get(timeout=60) == b"ar"
  child.join()
  assert handle.tell() == 1
