"""GEdit-Bench's numbers, computed by hand."""

import math

import pytest

from unialign_jax.evals.gedit import dataset
from unialign_jax.evals.gedit import scores


def _sample(task: str, sc, pq, intersection=True, status=scores.SCORED):
  return scores.Sample(
    task=task, status=status, sc=sc, pq=pq, intersection=intersection
  )


_SAMPLES = (
  _sample("color_alter", 4.0, 9.0),  # O 6
  _sample("color_alter", 8.0, 2.0, False),  # O 4
  _sample("ps_human", 1.0, 4.0),  # O 2
)


def _values(table, metric: str) -> dict[str, float | None]:
  return {s.group: s.value for s in table if s.metric == metric}


@pytest.mark.parametrize("make", [scores.repaired, scores.as_released])
def test_the_average_is_the_mean_of_groups(make):
  table = make(_SAMPLES)
  expected = {
    "color_alter": 5.0,
    "ps_human": 2.0,
    "Average": 3.5,
    "Samples": 4.0,
    "color_alter (intersection)": 6.0,
    "ps_human (intersection)": 2.0,
    "Average (intersection)": 4.0,
    "Samples (intersection)": 4.0,
  }
  assert _values(table, "G_O") == pytest.approx(expected)
  assert _values(table, "G_SC")["Average"] == pytest.approx((6 + 1) / 2)
  assert _values(table, "G_PQ")["Average"] == pytest.approx((5.5 + 4) / 2)


def test_o_is_the_mean_of_roots_not_the_root_of_means():
  table = _values(scores.repaired(_SAMPLES), "G_O")
  assert table["color_alter"] != pytest.approx(math.sqrt(6 * 5.5))


def test_a_missing_picture_counts_0_and_as_released_not_at_all():
  samples = [*_SAMPLES, scores.missing("ps_human", True)]
  repaired = scores.repaired(samples)
  assert _values(repaired, "G_O")["ps_human"] == 1.0
  assert _values(repaired, "G_O")["Average (intersection)"] == 3.5
  released = scores.as_released(samples)
  assert _values(released, "G_O")["ps_human"] == 2.0
  counts = {
    make: (score.scored, score.expected)
    for make, table in (("repaired", repaired), ("released", released))
    for score in table
    if (score.group, score.metric) == ("ps_human", "G_O")
  }
  assert counts == {"repaired": (2, 2), "released": (1, 2)}


def test_a_picture_without_a_score_is_in_no_mean():
  lost = _sample("ps_human", None, None, status="SC: refusal")
  table = scores.repaired([*_SAMPLES, lost])
  assert _values(table, "G_SC")["ps_human"] == 1.0
  alone = scores.repaired([*_SAMPLES[:2], lost])
  assert _values(alone, "G_O")["ps_human"] is None
  assert _values(alone, "G_O")["Average"] is None
  assert _values(alone, "G_O")["Samples"] == 5.0


def test_rows_are_in_the_order_of_the_script():
  samples = [_sample(task, 1.0, 1.0) for task in reversed(dataset.GROUPS)]
  table = list(_values(scores.repaired(samples), "G_SC"))
  assert tuple(table[:13]) == (*dataset.GROUPS, "Average", "Samples")
  assert len(table) == 26


def test_without_an_intersection_there_are_no_rows_of_it():
  table = scores.repaired([_sample("ps_human", 1.0, 1.0, None)])
  assert list(_values(table, "G_O")) == ["ps_human", "Average", "Samples"]


def test_columns_have_a_suffix():
  table = scores.as_released(_SAMPLES, ", x")
  assert {s.metric for s in table} == {"G_SC, x", "G_PQ, x", "G_O, x"}
  assert all(s.low is None for s in table)
