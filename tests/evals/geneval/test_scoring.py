"""The scorer that runs here, over a detector whose boxes are known."""

import dataclasses
import json
import pathlib

import pytest
from PIL import Image

from tests.evals.geneval import files
from unialign_jax.evals.geneval import layout
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import results
from unialign_jax.evals.geneval import rule
from unialign_jax.evals.geneval import scoring


@dataclasses.dataclass
class FakeDetector:
  """Finds what the picture's red says: a bit a class, in a row."""

  identity: str = "fake"
  classes: frozenset[str] = frozenset(
    {"bench", "cat", "dog", "clock", "car", "tv remote"}
  )
  looked: int = 0

  def find(self, picture: Image.Image) -> list[rule.Object]:
    self.looked += 1
    bits = picture.getpixel((0, 0))[0]
    return [
      rule.Object(name=name, box=(20 * n, 0, 20 * n + 8, 8), confidence=0.95)
      for n, name in enumerate(sorted(self.classes))
      if bits >> n & 1
    ]


@dataclasses.dataclass
class FakeColors:
  """Every object is what the picture's green says."""

  identity: str = "eyes"

  def name(self, picture, objects, name) -> list[str]:
    del name
    return [prompts.COLORS[picture.getpixel((0, 0))[1]]] * len(objects)


def _bits(*names: str) -> int:
  order = sorted(FakeDetector.classes)
  return sum(1 << order.index(name) for name in names)


# What is drawn for each prompt, its colour, and whether that is right.
_DRAWN = (
  (("bench",), "red", True),
  (("cat",), "red", False),
  (("clock",), "red", False),  # one clock of two
  (("car",), "blue", False),
  (("cat", "dog"), "red", True),  # in alphabetical order from the left
  (("cat", "tv remote"), "black", False),
)


@pytest.fixture
def made(tmp_path: pathlib.Path) -> tuple[pathlib.Path, list[prompts.Prompt]]:
  """A folder with one sample of each prompt."""
  path = files.write_prompts(tmp_path / "a.jsonl")
  found = prompts.read(path, "short", True)
  for prompt, (names, color, _) in zip(found, _DRAWN):
    path = tmp_path / "out" / layout.sample(prompt.index, 0)
    path.parent.mkdir(parents=True)
    shade = (_bits(*names), prompts.COLORS.index(color), 0)
    Image.new("RGB", (160, 20), shade).save(path)
  return tmp_path / "out", found


def _run(out, found, detector, colors=None) -> list[results.Row]:
  eyes = scoring.Eyes(detector, colors or FakeColors())
  return scoring.run(out, found, 2, eyes)


def test_verdicts_are_those_of_the_known_boxes(made):
  out, found = made
  rows = _run(out, found, FakeDetector())
  assert [row.correct for row in rows] == [right for _, _, right in _DRAWN]
  assert [row.picture for row in rows] == [(n, 0) for n in range(6)]
  assert rows[3].fields["reason"] == "car is blue, expected red"
  assert json.loads(rows[4].fields["details"]) == {
    "cat": [[40, 0, 48, 8, 0.95]],
    "dog": [[80, 0, 88, 8, 0.95]],
  }


def test_the_file_has_the_official_format(made):
  out, found = made
  rows = _run(out, found, FakeDetector())
  read = results.read(out / scoring.FILE)
  assert [row.fields for row in read] == [dict(row.fields) for row in rows]
  assert set(results.FIELDS) <= set(read[0].fields)


def test_nothing_is_looked_at_twice(made):
  out, found = made
  first = _run(out, found, FakeDetector())
  again = FakeDetector()
  assert _run(out, found, again) == first
  assert again.looked == 0


def test_a_scoring_that_was_cut_off_goes_on(made):
  out, found = made
  first = _run(out, found, FakeDetector())
  path = out / scoring.FILE
  data = path.read_bytes()
  path.write_bytes(data[: data.index(b"\n") + 20])  # one line and a torn one
  again = FakeDetector()
  assert _run(out, found, again) == first
  assert again.looked == 5


@pytest.mark.parametrize("change", ["picture", "scorer", "prompt"])
def test_what_has_changed_is_looked_at_anew(made, change: str):
  out, found = made
  _run(out, found, FakeDetector())
  detector = FakeDetector()
  if change == "picture":
    path = out / layout.sample(0, 0)
    Image.new("RGB", (160, 20), (_bits("dog"), 0, 0)).save(path)
  elif change == "scorer":
    detector.identity = "other"
  else:
    line = dict(found[0].metadata) | {"include": [{"class": "cat", "count": 1}]}
    found[0] = prompts.Prompt(0, line)
  rows = _run(out, found, detector)
  assert detector.looked == (6 if change == "scorer" else 1)
  assert rows[0].correct is (change == "scorer")


def test_a_class_that_it_cannot_find_is_named(made):
  out, found = made
  with pytest.raises(ValueError, match="tv remote"):
    _run(out, found, FakeDetector(classes=frozenset({"bench", "cat"})))


def test_a_file_that_is_no_picture_is_named(made):
  out, found = made
  (out / layout.sample(2, 0)).write_bytes(b"none")
  with pytest.raises(ValueError, match=r"00002/samples/00000\.png"):
    _run(out, found, FakeDetector())
