"""The command lines, as a shell runs them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from unialign_jax.use import outputs


def _start(
  name: str, workdir: pathlib.Path, *words: object
) -> subprocess.Popen[str]:
  command = [sys.executable, "-m", f"unialign_jax.{name}", f"--model={workdir}"]
  return subprocess.Popen(
    [*command, *map(str, words)],
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def _run(
  name: str, workdir: pathlib.Path, *words: object, status: int = 0
) -> str:
  process = _start(name, workdir, *words)
  _, said = process.communicate(timeout=300)
  assert process.returncode == status, said
  return said


@pytest.fixture
def jobs(tmp_path: pathlib.Path, photo: Image.Image) -> pathlib.Path:
  """Three edits, the second of a broken picture."""
  photo.save(tmp_path / "good.jpg")
  photo.convert("CMYK").save(tmp_path / "cmyk.tif")
  (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
  rows = [
    {"image": "good.jpg", "instruction": "make it blue", "seed": 4},
    {"image": "broken.png", "instruction": "make it red"},
    {"image": "cmyk.tif", "instruction": "make it green"},
    {"prompt": "a red circle", "negative": "blue"},
  ]
  path = tmp_path / "jobs.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def test_a_broken_picture_is_named_and_the_rest_is_drawn(
  workdir: pathlib.Path, jobs: pathlib.Path, tmp_path: pathlib.Path
):
  out = tmp_path / "out"
  flags = (f"--prompts-file={jobs}", f"--out={out}", "--n=2")
  said = _run("generate", workdir, *flags, status=1)
  assert "broken.png" in said and "2 of 8 files are missing" in said
  assert "image/s" in said or "s/image" in said
  names = sorted(path.name for path in out.iterdir())
  assert names == [f"{i:05d}-{s}.png" for i, s in _numbers()]
  made_by = outputs.read_png(out / "00000-5.png")
  assert made_by["text"] == "make it blue" and made_by["seed"] == 5
  assert made_by["steps"] == 2 and made_by["task"] == "edit"

  # Again: what is there stays, what is missing is drawn as before.
  lost = out / "00003-1.png"
  pixels = np.asarray(Image.open(lost))
  lost.unlink()
  kept = (out / "00000-4.png").stat().st_mtime_ns
  _run("generate", workdir, *flags, status=1)
  assert (out / "00000-4.png").stat().st_mtime_ns == kept
  apart = np.asarray(Image.open(lost)).astype(int) - pixels
  assert np.abs(apart).max() <= 1

  said = _run("generate", workdir, *flags, "--steps=3", status=1)
  assert "made with another steps" in said


def _numbers() -> list[tuple[int, int]]:
  return [(0, 4), (0, 5), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_a_grid_is_one_file(workdir: pathlib.Path, tmp_path: pathlib.Path):
  words = ("a", "ring", "--grid", "--n=3", f"--out={tmp_path}")
  _run("generate", workdir, *words)
  (path,) = tmp_path.glob("*.png")
  assert Image.open(path).width > 3 * 64
  assert outputs.read_png(path)["text"] == "a ring"


def test_texts_of_pictures_and_questions(
  workdir: pathlib.Path,
  jobs: pathlib.Path,
  tmp_path: pathlib.Path,
  photo: Image.Image,
):
  asked = tmp_path / "asked.jsonl"
  rows = [
    {"image": "good.jpg"},
    {"image": "broken.png"},
    {"image": "good.jpg", "question": "what color?"},
  ]
  asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
  out = tmp_path / "texts.jsonl"
  flags = (f"--jsonl={asked}", f"--out={out}")
  said = _run("understand", workdir, *flags, status=1)
  assert "broken.png" in said and "1 of 3 texts are missing" in said
  first = out.read_text()
  got = [json.loads(line) for line in first.splitlines()]
  assert [row["question"] for row in got] == ["", "what color?"]
  assert all(row["image"] == str(tmp_path / "good.jpg") for row in got)

  # A kill tore the last line off; the whole folder is asked for now.
  out.write_text(first[:-20])
  (tmp_path / "broken.png").unlink()
  _run("understand", workdir, f"--folder={tmp_path}", f"--out={out}")
  got = [json.loads(line) for line in out.read_text().splitlines()]
  assert out.read_text().startswith(first.splitlines()[0])
  assert [pathlib.Path(row["image"]).name for row in got] == [
    "good.jpg",
    "cmyk.tif",
  ]


def test_ctrl_c_leaves_whole_files_and_goes_on(
  workdir: pathlib.Path, tmp_path: pathlib.Path
):
  prompts = tmp_path / "prompts.txt"
  prompts.write_text("".join(f"{i} rings\n" for i in range(2000)))
  out = tmp_path / "out"
  words = (f"--prompts-file={prompts}", f"--out={out}")
  process = _start("generate", workdir, *words)
  _wait(lambda: out.is_dir() and len(list(out.glob("0*.png"))) >= 8)
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=60)
  assert process.returncode == 130, said
  assert "the same command goes on" in said and "Traceback" not in said
  drawn = sorted(out.glob("0*.png"))
  assert 8 <= len(drawn) < 2000
  for path in drawn:
    assert Image.open(path).convert("RGB").size == (64, 64)

  prompts.write_text("".join(f"{i} rings\n" for i in range(len(drawn) + 1)))
  times = {path: path.stat().st_mtime_ns for path in drawn}
  _run("generate", workdir, *words)
  assert len(list(out.glob("0*.png"))) == len(drawn) + 1
  assert times == {path: path.stat().st_mtime_ns for path in drawn}


def _wait(condition) -> None:
  end = time.monotonic() + 120
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.05)


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (("--image=a.png",), "got no text, expected a prompt"),
    (("--task=edit", "x"), "got 0 images, expected 1 to 4"),
    (("--prompts-file=none.txt",), "cannot be read"),
  ],
)
def test_a_mistake_is_one_message(
  tmp_path: pathlib.Path, words: tuple[str, ...], message: str
):
  out = tmp_path / "out"
  said = _run("generate", tmp_path, *words, f"--out={out}", status=1)
  assert message in said and "Traceback" not in said
  assert not out.exists()
