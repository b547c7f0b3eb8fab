"""The exam of the Shapes world: its samples, its marks, and the report."""

import json
import pathlib
import subprocess
import sys

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from unialign_jax import config as config_lib
from unialign_jax.shapes import curves
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import geneval
from unialign_jax.shapes import language
from unialign_jax.shapes import render
from unialign_jax.shapes import report
from unialign_jax.shapes import sampler as sampler_lib
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import scores


@pytest.fixture(scope="module")
def exam() -> exam_lib.Exam:
  return exam_lib.make(4, 1, feature_sets.WORLD)


@pytest.fixture(scope="module")
def values() -> ml_collections.ConfigDict:
  values = config_lib.load_file("tiny.py")
  values.data.sources = (("not read", 1.0),)
  return values


@pytest.fixture(scope="module")
def config(values: ml_collections.ConfigDict) -> config_lib.Config:
  return config_lib.from_dict(values)


@pytest.fixture(scope="module")
def sampler(config: config_lib.Config) -> sampler_lib.Sampler:
  return sampler_lib.Sampler(config, batch_size=4)


@pytest.fixture(scope="module")
def params(config: config_lib.Config) -> dict:
  """Parameters in which no path is closed, unlike a fresh network's."""
  keys = iter(jax.random.split(jax.random.key(0), 100))
  return jax.tree.map(
    lambda p: p + 0.1 * jax.random.normal(next(keys), p.shape, p.dtype),
    report.untrained(config),
  )


def shown(samples: list) -> np.ndarray:
  return np.stack([sample.target_image for sample in samples])


def test_the_exam_is_held_out(exam: exam_lib.Exam) -> None:
  for samples in (exam.singles, exam.pictures, exam.edits, exam.questions):
    assert len(samples) >= 4
    for sample in samples:
      scene = scenes.Scene.from_json(sample.scene)
      assert scenes.split(scene) == "test"
  assert {p["tag"] for p in exam.prompts} == set(geneval.TAGS)


def test_true_pictures_and_texts_get_full_marks(exam: exam_lib.Exam) -> None:
  questions = [s.question for s in exam.questions]
  wanted = [s.caption for s in exam.questions]
  true_captions = [
    language.captions(
      scenes.Scene.from_json(s.scene), np.random.default_rng(0)
    )[0]
    for s in exam.pictures
  ]
  found = (
    scores.single_objects(shown(exam.singles), exam.singles)
    | scores.captions(true_captions, exam.pictures)
    | scores.answers(wanted, questions, wanted)
    | scores.edits(shown(exam.edits), exam.edits)
    | scores.subjects(shown(exam.subjects), exam.subjects)
  )
  assert {name: s.value for name, s in found.items()} == dict.fromkeys(
    found, 1.0
  )
  perfect = scores.maps(shown(exam.maps), exam.maps)
  assert all(score.value == 60.0 for score in perfect.values())


def test_wrong_pictures_and_texts_get_none(exam: exam_lib.Exam) -> None:
  blank = np.full((4, 64, 64, 3), 250, np.uint8)
  found = (
    scores.single_objects(blank, exam.singles)
    | scores.captions(["a person waving"] * 4, exam.pictures)
    | scores.answers(["a"], [exam.questions[0].question], ["b"])
    | scores.edits(blank, exam.edits)
  )
  assert not any(score.value for score in found.values())
  assert all(s.value < 10 for s in scores.maps(blank, exam.maps).values())


def test_a_second_color_in_a_caption_is_wrong() -> None:
  sample = exam_lib.make(1, 1, feature_sets.WORLD).pictures[0]
  (item,) = scenes.Scene.from_json(sample.scene).objects
  other = next(c for c in scenes.COLORS if c != item.color)
  text = f"a {item.color} {item.shape} and a {other} {item.shape}"
  found = scores.captions([text], [sample])
  assert found["caption: color named"].value == 0
  assert found["caption: shape named"].value == 1
  assert found["caption: exactly right"].value == 0


@pytest.mark.parametrize(
  ("question", "kind"),
  [
    ("what color is the background?", "background"),
    ("what color is the star?", "color"),
    ("what is the blue shape?", "shape"),
    ("what is in front of the blue ring?", "relation"),
    ("where is the star relative to the red ring?", "relation"),
    ("where is the red star?", "place"),
    ("is the star left of the ring?", "relation"),
    ("is the red star small or large?", "size"),
    ("is there a person?", "person"),
    ("is there a red ring?", "is there"),
    ("how many rings are there?", "count"),
  ],
)
def test_question_kinds(question: str, kind: str) -> None:
  assert scores.question_kind(question) == kind


def test_every_question_of_the_language_has_a_kind() -> None:
  rng = np.random.default_rng(0)
  for _ in range(50):
    for question, _ in language.question_answers(scenes.sample_scene(rng), rng):
      scores.question_kind(question)


def test_pictures_follow_text_and_conditions(
  sampler: sampler_lib.Sampler, params: dict
) -> None:
  rng = np.random.default_rng(0)
  condition = [[render.render(scenes.sample_scene(rng), 64)] for _ in range(2)]
  texts = ["a red circle", "a blue ring on a striped gray background"]
  plain = sampler.draw(params, texts)
  assert plain.shape == (2, 64, 64, 3)
  np.testing.assert_array_equal(sampler.draw(params, texts), plain)
  assert (sampler.draw(params, texts[::-1])[0] != plain[0]).any()
  given = sampler.draw(params, texts, condition)
  swapped = sampler.draw(params, texts, condition[::-1])
  assert (given[0] != swapped[0]).any()


def test_more_examples_than_a_batch(
  sampler: sampler_lib.Sampler, params: dict
) -> None:
  texts = ["a red circle", "a cyan ring", "a star", "a cross", "a pink square"]
  pictures = sampler.draw(params, texts)
  assert len(pictures) == 5
  np.testing.assert_array_equal(sampler.draw(params, texts[:4]), pictures[:4])
  written = sampler.write(params, pictures, ["how many rings are there?"] * 5)
  assert len(written) == 5


def test_the_report_writes_every_file(
  config: config_lib.Config,
  sampler: sampler_lib.Sampler,
  params: dict,
  tmp_path: pathlib.Path,
) -> None:
  exam = exam_lib.make(1, 1, feature_sets.WORLD)
  printed = report.write(
    tmp_path,
    exam,
    sampler,
    untrained_params=report.untrained(config),
    trained_params=params,
    metrics={3: {"loss/total": 2.0, "loss/flow": 1.0, "loss/cross": 4.0}},
  )
  measured = json.loads((tmp_path / "scores.json").read_text())
  assert all(name in printed for name in measured)
  assert all(0 <= m["trained"] <= 60 for m in measured.values())
  for name in ("sample_grid.png", "task_grid.png", "curves.png"):
    assert np.asarray(Image.open(tmp_path / name)).std() > 1
  assert "| true | written |" in (tmp_path / "captions.md").read_text()


def test_half_a_line_of_metrics_and_repeated_steps(
  tmp_path: pathlib.Path,
) -> None:
  path = tmp_path / "metrics.jsonl"
  path.write_text(
    '{"step": 2, "loss/total": 5}\n{"step": 1, "loss/total": "nan"}\n'
    '{"step": 2, "loss/total": 3}\n{"step": 3, "los'
  )
  metrics = curves.read(path)
  assert list(metrics) == [1, 2]
  assert metrics[2]["loss/total"] == 3.0


def test_a_missing_run_is_one_message(tmp_path: pathlib.Path) -> None:
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "unialign_jax.shapes.report",
      f"--workdir={tmp_path}",
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert "train first" in done.stderr
  assert "Traceback" not in done.stderr
