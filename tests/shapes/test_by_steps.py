"""The measure of solvers and steps, on the shipped model."""

import numpy as np
import pytest

from unialign_jax import pipeline
from unialign_jax.diffusion import flow
from unialign_jax.sampling import text as text_sampling
from unialign_jax.shapes import by_steps
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import loading


@pytest.fixture(scope="module")
def pipe() -> pipeline.Pipeline:
  return pipeline.Pipeline.load(loading.SHIPPED)


@pytest.fixture(scope="module")
def exam() -> exam_lib.Exam:
  return exam_lib.make(8, 1, feature_sets.WORLD)


def test_pictures(
  pipe: pipeline.Pipeline,
  exam: exam_lib.Exam,
  monkeypatch: pytest.MonkeyPatch,
):
  monkeypatch.setattr(by_steps, "STEPS", (1, 12))
  monkeypatch.setattr(by_steps, "_LIMIT", {"solver": "heun", "steps": 20})
  table, picture = by_steps.images(pipe, exam)
  rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
  assert [row[0] for row in rows[1:]] == [
    solver for solver in flow.SOLVERS for _ in range(2)
  ]
  distances = {(row[0], row[1]): float(row[5]) for row in rows}
  assert distances["limit: heun", "20"] == 0
  for solver in flow.SOLVERS:
    assert distances[solver, "12"] < distances[solver, "1"]
  # One step of any solver is Euler's.
  assert distances["heun", "1"] == distances["euler", "1"]
  # The shipped model draws what it is told.
  assert float(rows[0][4]) >= 0.5
  assert picture.dtype == np.uint8


def test_texts(
  pipe: pipeline.Pipeline,
  exam: exam_lib.Exam,
  monkeypatch: pytest.MonkeyPatch,
):
  monkeypatch.setattr(by_steps, "TEXT_STEPS", (12,))
  monkeypatch.setattr(text_sampling, "SCHEDULES", ("confidence",))
  table = by_steps.texts(pipe, exam)
  rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
  assert len(rows) == 3  # temperatures
  assert max(float(row[3]) for row in rows) >= 0.75
