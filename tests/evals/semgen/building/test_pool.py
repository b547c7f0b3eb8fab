"""Photographs and COCO's captions of them."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.evals.semgen.building import writer
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import filters
from unialign_jax.evals.semgen.building import pool


def coco(path, *names):
  url = "http://creativecommons.org/licenses/by/2.0/"
  table = {
    "licenses": [{"id": 4, "url": url}],
    "images": [
      {"id": 100 + n, "file_name": name, "license": 4}
      for n, name in enumerate(names)
    ],
    "annotations": [
      {"id": 9, "image_id": 100, "caption": "Second."},
      {"id": 3, "image_id": 100, "caption": " The first \n one. "},
    ],
  }
  path.write_text(json.dumps(table))
  return path


def test_a_folder_alone(tmp_path):
  folder = writer.pool(tmp_path / "images", each=1)
  names = [one.name for one in pool.read(folder)]
  assert names == ["0_0.jpg", "1_0.jpg", "2_0.jpg"]


def test_with_captions(tmp_path):
  folder = writer.pool(tmp_path / "images", each=2)
  captions = coco(tmp_path / "captions.json", "1_0.jpg", "2_1.jpg", "x.jpg")
  first, second = pool.read(folder, captions)
  assert (first.name, first.caption) == ("1_0.jpg", "The first one.")
  assert (first.coco_id, second.coco_id) == (100, 101)
  assert first.license.endswith("by/2.0/")
  assert second.caption == ""


def test_captions_that_do_not_fit(tmp_path):
  folder = writer.pool(tmp_path / "images", each=1)
  with pytest.raises(ValueError, match="lists none of the 3 pictures"):
    pool.read(folder, coco(tmp_path / "captions.json", "x.jpg"))
  (tmp_path / "other.json").write_text("[]")
  with pytest.raises(ValueError, match="expected COCO's captions"):
    pool.read(folder, tmp_path / "other.json")


@pytest.mark.parametrize(
  ("options", "reason"),
  [
    ({}, ""),
    ({"size": (601, 450)}, "aspect ratio"),
    ({"size": (400, 540)}, "aspect ratio"),
    ({"size": (400, 359)}, "small"),
    ({"noise": 2.0}, "blurred"),
    ({"color": (255, 255, 255), "noise": 40.0}, "exposure"),
    ({"color": (225, 225, 225), "noise": 40.0}, ""),
  ],
)
def test_filters(tmp_path, options, reason):
  path = tmp_path / "a.jpg"
  writer.photograph(path, **({"color": (90, 120, 60)} | options))
  found = filters.measure(
    pool.Candidate(name="a.jpg", path=path),
    filters.Bounds(max_clipped=0.4),
  )
  assert found.reason == reason
  if options.get("size") is None:
    assert (found.width, found.height) == (480, 400)


def test_a_file_that_is_no_picture(tmp_path):
  path = tmp_path / "a.jpg"
  path.write_bytes(b"none")
  candidate = pool.Candidate(name="a.jpg", path=path)
  assert filters.measure(candidate, filters.Bounds()).reason == "unreadable"


def test_sharpness_is_of_one_size_and_falls_with_blur():
  rng = np.random.default_rng(0)
  coarse = Image.fromarray(rng.integers(0, 256, (32, 25), np.uint8))
  middle, large = (
    coarse.resize((25 * n, 32 * n), Image.Resampling.BICUBIC) for n in (16, 48)
  )
  found = filters.sharpness(np.asarray(middle))
  assert 0.9 < filters.sharpness(np.asarray(large)) / found < 1.1
  blurred = large.resize((20, 25)).resize(large.size)
  assert filters.sharpness(np.asarray(blurred)) < 0.5 * found


@pytest.mark.skipif(
  not os.environ.get(dataset.VARIABLE),
  reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench",
)
def test_the_released_photographs_are_fit():
  folder = pathlib.Path(os.environ[dataset.VARIABLE]) / dataset.IMAGES
  bounds = filters.Bounds()
  found = [filters.measure(one, bounds) for one in pool.read(folder)]
  assert len(found) == 150
  assert {one.reason for one in found} == {""}
  # The bounds on shape are no wider than they have to be.
  aspects = [one.width / one.height for one in found]
  assert min(aspects) < 0.78 and max(aspects) > 1.29
  assert min(min(one.width, one.height) for one in found) == 360
