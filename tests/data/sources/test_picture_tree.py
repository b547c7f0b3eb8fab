"""Trees of pictures are refused while there is nothing to read in them."""

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import picture_tree


@pytest.mark.parametrize("name", ["a/b/0.JPG", "0.png", "0.webp", "0.jpeg"])
def test_pictures_beside_packed_archives_are_read(tmp_path, name):
  written.file(tmp_path / name, written.picture(3))
  written.file(tmp_path / "images.tar.gz", b"")
  tree = picture_tree.open_tree(tmp_path)
  assert tree.read(name) == written.picture(3)


def test_tars_are_read(tmp_path):
  written.tar(tmp_path / "a.tar", {"b/0.jpg": written.picture(3)})
  assert picture_tree.open_tree(tmp_path).read("b/0.jpg") == written.picture(3)


def test_packed_archives_alone_are_refused(tmp_path):
  written.file(tmp_path / "rows.jsonl", "")
  written.file(tmp_path / "images.tar.gz.part-aa", b"")
  with pytest.raises(base.SourceError, match="gzip -dc"):
    picture_tree.open_tree(tmp_path)


@pytest.mark.parametrize("folder", ["", "no/such/folder"])
def test_nothing_to_read_is_refused(tmp_path, folder):
  written.file(tmp_path / "rows.jsonl", "")
  with pytest.raises(base.SourceError, match=r"got no file"):
    picture_tree.open_tree(tmp_path / folder)
