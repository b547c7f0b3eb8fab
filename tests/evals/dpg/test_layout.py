"""DPG-Bench's folders, file by file, and its grids, pixel by pixel."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from unialign_jax.evals.dpg import layout

_TEXTS = {"a1": "first", "b": "second"}
_SHADES = (40, 80, 120, 160)


def _make(out: pathlib.Path, item: str, numbers=range(4), side: int = 8):
  for number in numbers:
    path = out / layout.sample(item, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = (_SHADES[number], 0, 0)
    Image.new("RGB", (side, side), shade).save(path)


def _listing(out: pathlib.Path) -> list[str]:
  return sorted(
    path.relative_to(out).as_posix()
    for path in out.rglob("*")
    if path.is_file()
  )


def test_wanted_is_four_samples_of_each_prompt():
  wanted = layout.wanted(_TEXTS, 4, 7)
  assert [one.path for one in wanted] == [
    f"samples/{item}/{n}.png" for item in ("a1", "b") for n in range(4)
  ]
  assert [one.seed for one in wanted] == [7, 8, 9, 10] * 2
  assert [one.text for one in wanted] == ["first"] * 4 + ["second"] * 4


def test_grids_lie_alone_in_their_folder(tmp_path: pathlib.Path):
  _make(tmp_path, "a1")
  _make(tmp_path, "b", range(3))  # one is missing: no grid
  layout.finish(tmp_path, _TEXTS, 4)
  assert _listing(tmp_path) == sorted(
    [
      "grids/a1.png",
      *(f"samples/a1/{n}.png" for n in range(4)),
      *(f"samples/b/{n}.png" for n in range(3)),
    ]
  )


def test_the_scorers_boxes_are_the_samples(tmp_path: pathlib.Path):
  _make(tmp_path, "a1")
  layout.finish(tmp_path, ["a1"], 4)
  grid = Image.open(tmp_path / "grids/a1.png")
  assert grid.size == (16, 16)
  # compute_dpg_bench.py's, with --resolution 8.
  boxes = [(0, 0, 8, 8), (8, 0, 16, 8), (0, 8, 8, 16), (8, 8, 16, 16)]
  for shade, box in zip(_SHADES, boxes):
    assert (np.asarray(grid.crop(box))[..., 0] == shade).all()


@pytest.mark.parametrize(
  "samples, size", [(1, (8, 8)), (2, (16, 8)), (3, (16, 16))]
)
def test_fewer_samples_have_smaller_grids(
  tmp_path: pathlib.Path, samples: int, size: tuple[int, int]
):
  _make(tmp_path, "a1", range(samples))
  layout.finish(tmp_path, ["a1"], samples)
  assert Image.open(tmp_path / "grids/a1.png").size == size


def test_a_grid_is_made_once_and_anew_after_a_sample(tmp_path: pathlib.Path):
  _make(tmp_path, "a1")
  layout.finish(tmp_path, ["a1"], 4)
  place = tmp_path / "grids/a1.png"
  first = place.stat().st_ino
  layout.finish(tmp_path, ["a1"], 4)
  assert place.stat().st_ino == first
  path = tmp_path / layout.sample("a1", 0)
  Image.new("RGB", (8, 8), (250, 0, 0)).save(path)
  later = place.stat().st_mtime_ns + 10**9
  os.utime(path, ns=(later, later))
  layout.finish(tmp_path, ["a1"], 4)
  assert Image.open(place).getpixel((0, 0)) == (250, 0, 0)


def test_samples_of_two_sizes_are_refused(tmp_path: pathlib.Path):
  _make(tmp_path, "a1", range(3))
  _make(tmp_path, "a1", [3], side=4)
  with pytest.raises(ValueError, match=r"a1: got samples of \[\(4, 4\)"):
    layout.finish(tmp_path, ["a1"], 4)


def test_samples_are_found_alone_and_in_grids(tmp_path: pathlib.Path):
  _make(tmp_path, "a1", [2])
  _make(tmp_path / "other", "b")
  layout.finish(tmp_path / "other", ["b"], 4)
  (tmp_path / "grids").mkdir()
  grid = Image.open(tmp_path / "other/grids/b.png")
  grid.save(tmp_path / "grids/b.x.webp", lossless=True)
  found = layout.find(tmp_path, ["a1", "b", "c"], 4)
  assert set(found) == {("a1", 2), *(("b", n) for n in range(4))}
  for item, number in found:
    crop = layout.crop(tmp_path, found[item, number], number, 4)
    assert crop.size == (8, 8)
    assert crop.getpixel((4, 4)) == (_SHADES[number], 0, 0)


def test_one_sample_is_the_whole_of_its_grid(tmp_path: pathlib.Path):
  (tmp_path / "grids").mkdir()
  Image.new("RGB", (8, 8)).save(tmp_path / "grids/a.png")
  found = layout.find(tmp_path, ["a"], 1)
  assert layout.crop(tmp_path, found["a", 0], 0, 1).size == (8, 8)


def test_a_file_that_is_no_picture_is_named(tmp_path: pathlib.Path):
  (tmp_path / "grids").mkdir()
  (tmp_path / "grids/a.png").write_bytes(b"none")
  with pytest.raises(ValueError, match=r"grids/a\.png: got no picture"):
    layout.crop(tmp_path, tmp_path / "grids/a.png", 0, 4)
