"""Tars read in place: whole, cut off, hostile, packed and split."""

import os
import pickle
import subprocess
import tarfile

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import tar_index
from unialign_jax.data.sources import tars

JPEG = written.picture(7)
LONG_NAME = "é/" + "folder/" * 20 + "x" * 120 + ".jpg"


def members(count, start=0):
  return [
    pair
    for n in range(start, start + count)
    for pair in (
      (f"{n:03d}.jpg", written.picture(n)),
      (f"{n:03d}.txt", f"caption {n}".encode()),
    )
  ]


def groups(*paths):
  return tars.Groups(paths)


def all_problems(source):
  return [source.problem(n) for n in range(len(source))]


def test_archive_reads_any_member(tmp_path):
  path = tmp_path / "0.tar"
  written.tar(path, members(3))
  archive = tars.Archive(path)
  assert archive.names() == [name for name, _ in members(3)]
  assert archive.damaged == []
  for name, data in reversed(members(3)):
    assert archive.read(name) == data
  assert "001.jpg" in archive
  with pytest.raises(KeyError):
    archive.read("004.jpg")


def test_archive_pickles_and_needs_no_second_look(tmp_path, monkeypatch):
  path = tmp_path / "0.tar"
  written.tar(path, members(2))
  archive = tars.Archive(path)
  archive.read("001.jpg")
  monkeypatch.setattr(tar_index, "read", None)
  copy = pickle.loads(pickle.dumps(archive))
  assert copy.read("001.txt") == b"caption 1"


@pytest.mark.parametrize(
  "form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"]
)
def test_long_names(tmp_path, form):
  source = tmp_path / "picture"
  written.file(source, JPEG)
  with tarfile.open(tmp_path / "0.tar", "w", format=form) as archive:
    archive.add(source, LONG_NAME)
    archive.add(source, "./short.jpg")
  archive = tars.Archive(tmp_path / "0.tar")
  assert archive.names() == [LONG_NAME, "short.jpg"]
  assert archive.read(LONG_NAME) == archive.read("short.jpg") == JPEG
  source = groups(tmp_path / "0.tar")
  assert source.key(0) == "0/" + LONG_NAME.removesuffix(".jpg")


def test_links_and_folders_are_no_files(tmp_path):
  with tarfile.open(tmp_path / "0.tar", "w") as archive:
    for name, kind in (
      ("folder", tarfile.DIRTYPE),
      ("passwd.jpg", tarfile.SYMTYPE),
      ("hard.jpg", tarfile.LNKTYPE),
    ):
      info = tarfile.TarInfo(name)
      info.type, info.linkname = kind, "/etc/passwd"
      archive.addfile(info)
  assert tars.Archive(tmp_path / "0.tar").names() == []
  assert len(groups(tmp_path / "0.tar")) == 0


def test_hostile_names_write_nowhere(tmp_path):
  inner = tmp_path / "a" / "b"
  written.tar(
    inner / "0.tar", [("../x.jpg", JPEG), (f"{tmp_path}/y.jpg", JPEG)]
  )
  before = sorted(tmp_path.rglob("*"))
  source = groups(inner / "0.tar")
  assert [source[n]["jpg"] for n in range(2)] == [JPEG] * 2
  assert tars.Archive(inner / "0.tar").read("../x.jpg") == JPEG
  assert sorted(tmp_path.rglob("*")) == before


def spans(path):
  """Where the data of each member starts and ends."""
  with tarfile.open(path) as archive:
    return [(i.offset_data, i.offset_data + i.size) for i in archive]


@pytest.mark.parametrize(
  ("member", "missing", "whole", "damaged"),
  [
    (2, 1, 2, ["001.jpg"]),  # in the data of 001.jpg
    (3, 1, 3, ["001.txt"]),
    (3, -1, 4, []),  # in the padding after it
    (4, 512 + 100, 4, []),  # in the header of 002.jpg
  ],
)
def test_truncated(tmp_path, member, missing, whole, damaged):
  path = tmp_path / "0.tar"
  written.tar(path, members(3))
  start, end = spans(path)[member]
  cut = start - 512 + 100 if missing > 512 else end - missing
  written.cut(path, cut)
  archive = tars.Archive(path)
  assert archive.names() == [name for name, _ in members(3)][:whole]
  assert archive.damaged == damaged
  for name in damaged:
    with pytest.raises(KeyError):
      archive.read(name)
  assert archive.read("000.jpg") == written.picture(0)
  source = groups(path)
  assert all_problems(source) == ["", "truncated tar"]
  assert source[0]["txt"] == b"caption 0"
  with pytest.raises(base.SourceError, match="0/001: got truncated tar"):
    source[1]


def test_damaged_header_is_not_taken_for_the_end(tmp_path):
  path = tmp_path / "0.tar"
  written.tar(path, members(3))
  start, _ = spans(path)[2]
  data = bytearray(path.read_bytes())
  data[start - 512 : start - 500] = b"\xff" * 12
  path.write_bytes(bytes(data))
  assert all_problems(groups(path)) == ["truncated tar"]


def test_negative_size_ends_the_tar(tmp_path):
  info = tarfile.TarInfo("001.jpg")
  info.size = -1024
  header = info.tobuf(tarfile.GNU_FORMAT)
  written.tar(tmp_path / "0.tar", [("000.jpg", JPEG)])
  _, end = spans(tmp_path / "0.tar")[0]
  written.cut(tmp_path / "0.tar", -(-end // 512) * 512)
  with (tmp_path / "0.tar").open("ab") as file:
    file.write(header + bytes(4096))
  assert all_problems(groups(tmp_path / "0.tar")) == ["truncated tar"]


def test_tar_without_end_mark_is_whole(tmp_path):
  path = tmp_path / "0.tar"
  written.tar(path, members(2))
  _, end = spans(path)[-1]
  written.cut(path, -(-end // 512) * 512)
  assert all_problems(groups(path)) == ["", ""]


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs", JPEG * 9])
def test_no_tar(tmp_path, data):
  written.file(tmp_path / "0.tar", data)
  for opened in (tars.Archive, groups):
    with pytest.raises(base.SourceError, match=r"0\.tar.*uncompressed tar"):
      opened(tmp_path / "0.tar")


def test_changed_tar(tmp_path):
  path = tmp_path / "0.tar"
  written.tar(path, members(2))
  archive, source = tars.Archive(path), groups(path)
  written.cut(path, 600)
  with pytest.raises(base.SourceError, match="changed"):
    archive.read("001.txt")
  with pytest.raises(base.SourceError, match="changed"):
    source[1]


def test_groups_of_several_tars(tmp_path):
  written.tar(tmp_path / "a.tar", members(2))
  written.tar(tmp_path / "b.tar", [])
  written.tar(tmp_path / "c.tar", members(3, start=2))
  source = groups(*tars.find(tmp_path))
  keys = ["a/000", "a/001", "c/002", "c/003", "c/004"]
  assert [source.key(n) for n in range(len(source))] == keys
  for n in (4, 0, 2, 1, 3):
    expected = {"jpg": written.picture(n), "txt": f"caption {n}".encode()}
    assert source[n] == expected
  copy = pickle.loads(pickle.dumps(source))
  assert copy[3] == source[3]
  for n in (-1, 5):
    with pytest.raises(IndexError):
      source[n]


def test_keys_of_equal_tars_in_two_folders_differ(tmp_path):
  for folder in ("data_512", "data_1024"):
    written.tar(tmp_path / folder / "0.tar", members(1))
  source = groups(*tars.find(tmp_path))
  assert [source.key(n) for n in range(2)] == [
    "data_1024/0/000",
    "data_512/0/000",
  ]


def test_stems_and_extensions(tmp_path):
  pairs = [
    ("a.b/1.JPG", b"1"),
    ("a.b/2.jpg", b"2"),
    ("a.b/1.seg.png", b"3"),
    ("a.c/1.jpg", b"4"),
    ("README", b""),
    ("a.b/.hidden", b""),
    ("ends.", b""),
  ]
  written.tar(tmp_path / "0.tar", pairs)
  source = groups(tmp_path / "0.tar")
  found = {source.key(n): source[n] for n in range(len(source))}
  assert found == {
    "0/a.b/1": {"jpg": b"1", "seg.png": b"3"},
    "0/a.b/2": {"jpg": b"2"},
    "0/a.c/1": {"jpg": b"4"},
  }


def test_duplicate_stems(tmp_path):
  written.tar(tmp_path / "0.tar", [*members(2), ("000.JPG", JPEG)])
  source = groups(tmp_path / "0.tar")
  assert all_problems(source) == ["duplicate stem", ""]
  with pytest.raises(base.SourceError, match="duplicate stem"):
    source[0]
  assert source[1]["jpg"] == written.picture(1)


def test_only_headers_are_read_on_opening(tmp_path, monkeypatch):
  written.tar(tmp_path / "0.tar", [("0.jpg", bytes(10_000_000))])
  path = tars.find(tmp_path)[0]
  sizes = []
  original = type(path).open

  def opened(self, mode):
    file = original(self, mode)

    class Counted:
      def read(self, size):
        sizes.append(size)
        return file.read(size)

      def __getattr__(self, name):
        return getattr(file, name)

      def __enter__(self):
        return self

      def __exit__(self, *error):
        file.close()

    return Counted()

  monkeypatch.setattr(type(path), "open", opened)
  assert len(tars.Groups([path])) == 1
  assert 0 < sum(sizes) < 10_000


def run(message):
  """Runs the commands that an error gives."""
  for command in str(message).splitlines()[1:]:
    subprocess.run(command, shell=True, check=True)


@pytest.mark.parametrize(
  ("suffix", "pieces"),
  [
    (".tar.gz", 1),
    (".tgz", 1),
    (".tar.gz.part-a{letter}", 3),
    (".tar.gz.a{letter}", 3),
    (".tar.split.00{number}", 3),
    (".tar.part{number}", 2),
  ],
)
def test_commands_unpack_and_join(tmp_path, suffix, pieces):
  folder = tmp_path / "it's here"
  mode = "w:gz" if "gz" in suffix else "w"
  folder.mkdir()
  with tarfile.open(tmp_path / "packed", mode) as archive:
    written.file(tmp_path / "one", JPEG)
    archive.add(tmp_path / "one", "images/1.jpg")
  data = (tmp_path / "packed").read_bytes()
  step = -(-len(data) // pieces)
  for n in range(pieces):
    name = "x" + suffix.format(letter="abc"[n], number=n)
    written.file(folder / name, data[n * step : (n + 1) * step])
  written.file(folder / "x.tar.md5", "")
  with pytest.raises(base.SourceError, match="1 archives") as error:
    tars.find(tmp_path)
  run(error.value)
  (path,) = tars.find(tmp_path)  # what is packed may stay
  assert tars.Archive(path).read("images/1.jpg") == JPEG


def test_find(tmp_path):
  with pytest.raises(base.SourceError, match=r"no file that matches"):
    tars.find(tmp_path)
  written.tar(tmp_path / "b" / "0.tar", members(1))
  written.tar(tmp_path / "a" / "1.tar", members(1))
  written.file(tmp_path / "c" / "2.tar.gz", "")
  written.file(tmp_path / "a" / "1.tar.idx", "")
  for pattern, name in (("a/*.tar", "1.tar"), ("**/0.tar", "0.tar")):
    assert [path.name for path in tars.find(tmp_path, pattern)] == [name]
  with pytest.raises(base.SourceError, match=r"gzip -dc > .*2\.tar"):
    tars.find(tmp_path)
  (tmp_path / "c" / "2.tar.gz").unlink()
  assert [path.name for path in tars.find(tmp_path)] == ["1.tar", "0.tar"]


def test_tree_of_plain_files(tmp_path):
  written.file(tmp_path / "root" / "a" / "1.jpg", JPEG)
  written.file(tmp_path / "secret.jpg", JPEG)
  tree = pickle.loads(pickle.dumps(tars.Tree(tmp_path / "root")))
  assert tree.read("a/1.jpg") == tree.read("./a//1.jpg") == JPEG
  hostile = (
    "../secret.jpg",
    str(tmp_path / "secret.jpg"),
    "a/../../secret.jpg",
  )
  for name in ("a", "", ".", "a/2.jpg", "a/1.jpg/x", "a\0", *hostile):
    with pytest.raises(KeyError) as error:
      tree.read(name)
    assert error.value.args == (name,)


def test_tree_of_tars(tmp_path):
  written.tar(tmp_path / "part_0.tar", [("image/0.png", b"0")])
  written.tar(tmp_path / "part_1.tar", [("./image/1.png", b"1")])
  written.tar(tmp_path / "deep" / "2.tar", [("image/2.png", b"2")])
  written.tar(tmp_path / "cut.tar", [("image/3.png", b"3" * 600)])
  written.cut(tmp_path / "cut.tar", 700)
  written.file(tmp_path / "image" / "4.png", b"4")
  tree = tars.Tree(tmp_path)
  tree.read("image/0.png")
  tree = pickle.loads(pickle.dumps(tree))
  for n in (0, 1, 2, 4):
    assert tree.read(f"image/{n}.png") == str(n).encode()
  assert tree.read("deep/image/2.png") == b"2"
  for name in ("deep/image/1.png", "image/3.png", "part_0/image/0.png"):
    with pytest.raises(KeyError):
      tree.read(name)


def test_tree_does_not_choose_between_tars(tmp_path):
  for name in ("a.tar", "b.tar"):
    written.tar(tmp_path / name, [("1.png", name.encode()), (name, b"x")])
  tree = tars.Tree(tmp_path)
  assert tree.read("a.tar") == (tmp_path / "a.tar").read_bytes()
  with pytest.raises(base.SourceError, match=r"a\.tar, .*b\.tar"):
    tree.read("1.png")


def test_tree_says_what_it_does_not_read(tmp_path, caplog):
  written.file(tmp_path / "image" / "4.png", b"4")
  written.file(tmp_path / "x.tar.gz.part-aa", b"")
  with caplog.at_level("WARNING"):
    tree = tars.Tree(tmp_path)
  assert "cat" in caplog.text and "x.tar.gz.part-??" in caplog.text
  assert tree.read("image/4.png") == b"4"
  with pytest.raises(base.SourceError, match="no such folder"):
    tars.Tree(tmp_path / "nowhere")


def test_what_breaks_off_is_logged(tmp_path, caplog):
  path = tmp_path / "0.tar"
  written.tar(path, members(2))
  written.cut(path, os.path.getsize(path) // 4 - 100)
  with caplog.at_level("WARNING"):
    tars.Archive(path)
  assert "0.tar: breaks off after" in caplog.text
