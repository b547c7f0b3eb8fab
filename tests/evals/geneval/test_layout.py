"""GenEval's folder, file by file."""

import json
import pathlib

import numpy as np
from PIL import Image

from tests.evals.geneval import files
from unialign_jax.evals.geneval import layout
from unialign_jax.evals.geneval import prompts


def _prompts(tmp_path: pathlib.Path) -> list[prompts.Prompt]:
  path = files.write_prompts(tmp_path / "a.jsonl")
  return prompts.read(path, "short", partial=True)


def test_wanted_is_four_samples_of_each_prompt_with_seeds_that_repeat(
  tmp_path: pathlib.Path,
):
  wanted = layout.wanted(_prompts(tmp_path), 4, 42)
  assert len(wanted) == 24
  assert [one.path for one in wanted[:5]] == [
    "00000/samples/00000.png",
    "00000/samples/00001.png",
    "00000/samples/00002.png",
    "00000/samples/00003.png",
    "00001/samples/00000.png",
  ]
  assert [one.seed for one in wanted] == [42, 43, 44, 45] * 6
  assert [one.text for one in wanted[::4]] == [
    line["prompt"] for line in files.LINES
  ]
  assert [one.group for one in wanted[::4]] == [
    line["tag"] for line in files.LINES
  ]
  assert not any(one.images or one.guidance for one in wanted)


def test_the_finished_folder_is_the_official_one(tmp_path: pathlib.Path):
  found = _prompts(tmp_path)
  out = tmp_path / "out"
  for one in layout.wanted(found, 2, 42):
    if one.path == "00005/samples/00001.png":
      continue  # not made
    path = out / one.path
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = 10 * one.seed % 256
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(path)
  layout.finish(out, found, 2, grid=True)
  whole = [
    f"0000{i}/{name}"
    for i in range(5)
    for name in (
      "grid.png",
      "metadata.jsonl",
      "samples/00000.png",
      "samples/00001.png",
    )
  ]
  short = ["00005/metadata.jsonl", "00005/samples/00000.png"]
  assert sorted(
    path.relative_to(out).as_posix()
    for path in out.rglob("*")
    if path.is_file()
  ) == sorted(whole + short)
  for index, line in enumerate(files.LINES):
    text = (out / f"0000{index}" / "metadata.jsonl").read_text()
    assert json.loads(text) == line  # one object, as json.load wants it
  grid = np.asarray(Image.open(out / "00000" / "grid.png"))
  assert grid.shape == (4, 12, 3)
  assert (grid[:, :6, 0] == 420 % 256).all() and (grid[:, 6:, 0] == 174).all()


def test_a_grid_is_made_only_if_asked_for(tmp_path: pathlib.Path):
  found = _prompts(tmp_path)[:1]
  place = tmp_path / "00000" / "samples"
  place.mkdir(parents=True)
  Image.new("RGB", (4, 4)).save(place / "00000.png")
  layout.finish(tmp_path, found, 1, grid=False)
  assert not (tmp_path / "00000" / "grid.png").exists()
  assert (tmp_path / "00000" / "metadata.jsonl").exists()
