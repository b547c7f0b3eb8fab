"""What a command line asks for."""

import json
import pathlib

import pytest

from unialign_jax.data.sources import paraphrases
from unialign_jax.use import picture_jobs


def test_the_task_goes_without_saying():
  make = picture_jobs.make
  (job,) = make({"prompt": "a ring"})
  assert (job.task, job.text, job.images) == ("generate", "a ring", ())
  edits = make({"instruction": "blue", "image": ["a", "b"]})
  assert [(j.task, j.images) for j in edits] == [
    ("edit", ("a",)),
    ("edit", ("b",)),
  ]
  (job,) = make({"prompt": "both", "image": ["a", "b"]})
  assert (job.task, job.images) == ("personalise", ("a", "b"))
  (job,) = make({"kind": "depth", "image": ["a"], "seed": 3})
  assert job.task == "perceive"
  assert job.text == paraphrases.pick("depth", "3")


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ({}, "generate: got no text"),
    ({"image": ["a"], "task": "perceive"}, "a kind of map"),
    ({"image": ["a"], "kind": "smell"}, "'smell', expected one of"),
    ({"prompt": "x", "image": ["a"] * 5}, "got 5 images, expected 1 to 4"),
    ({"prompt": "x", "image": ["a"], "task": "generate"}, "expected none"),
    ({"prompt": "x", "seed": -1}, "seed: got -1"),
    ({"prompt": "x", "seed": "1"}, "seed: got '1'"),
    ({"prompt": "x", "task": "sing"}, "task: got 'sing'"),
  ],
)
def test_what_is_no_task_is_refused(row: dict, message: str):
  with pytest.raises(ValueError, match=message):
    picture_jobs.make(row)


def test_lines_have_what_all_have(tmp_path: pathlib.Path):
  path = tmp_path / "prompts.txt"
  path.write_text("a ring\n\n  two rings \n")
  common = {"seed": 2, "negative": "blue"}
  got = picture_jobs.read(str(path), common, [])
  assert [(j.text, j.seed) for j in got] == [("a ring", 2), ("two rings", 2)]
  edits = picture_jobs.read(str(path), common, ["a.png"])
  assert [(j.task, j.text) for j in edits] == [
    ("edit", "a ring"),
    ("edit", "two rings"),
  ]


def test_every_bad_line_is_listed(tmp_path: pathlib.Path):
  path = tmp_path / "jobs.jsonl"
  rows = ['{"prompt": "a"}', "no", '{"promt": "b"}', "[1]"]
  path.write_text("\n".join(rows))
  with pytest.raises(ValueError, match=r"line 2.*\n.*'promt'.*\n.*list"):
    picture_jobs.read(str(path), {}, [])
  path.write_text('{"prompt": "a"}\n{"seed": 1}\n')
  with pytest.raises(ValueError, match="entry 2: generate: got no text"):
    picture_jobs.read(str(path), {}, [])


def test_pictures_are_named_from_the_file(tmp_path: pathlib.Path):
  path = tmp_path / "jobs.jsonl"
  path.write_text(json.dumps({"image": "a.png", "instruction": "blue"}))
  (job,) = picture_jobs.read(str(path), {}, ["b.png"])
  assert job.images == (str(tmp_path / "a.png"),)
