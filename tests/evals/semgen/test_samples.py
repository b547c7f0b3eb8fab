"""The arithmetic of the table, by hand and as properties."""

import math
import statistics

import hypothesis
import pytest
from hypothesis import strategies as st

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import samples as samples_lib


def sample(group, key, ic, pq, status=samples_lib.SCORED):
  return samples_lib.Sample(group=group, key=key, status=status, ic=ic, pq=pq)


def table(samples):
  return {
    (score.group, score.metric): score for score in samples_lib.scores(samples)
  }


def test_golden_numbers():
  found = table(
    [
      sample("T2I_Long", 0, 9.0, 4.0),  # O = 6
      sample("T2I_Long", 1, 4.0, 4.0),  # O = 4
      sample("T2I_Sem", 0, 10.0, 10.0),  # O = 10
      sample("T2I_Sem", 1, None, None, "IC: refusal"),
      sample("Edit_Multi", 0, 2.0, 8.0),  # O = 4
      samples_lib.missing("Edit_Multi", 1),
      sample("Edit_Sem", 0, 1.0, 4.0),  # O = 2
      sample("Edit_Sem", 1, 0.0, 9.0),  # O = 0
    ]
  )
  rows = [*(group.name for group in dataset.GROUPS), "Average"]
  values = {
    row: [found[row, metric].value for metric in ("IC", "PQ", "O")]
    for row in rows
  }
  assert values == {
    "T2I_Long": [6.5, 4.0, 5.0],
    "T2I_Sem": [10.0, 10.0, 10.0],
    "Edit_Multi": [1.0, 4.0, 2.0],
    "Edit_Sem": [0.5, 6.5, 1.0],
    "Average": [4.5, 6.125, 4.5],
  }
  counts = [(found[row, "O"].scored, found[row, "O"].expected) for row in rows]
  assert counts == [(2, 2), (1, 2), (2, 2), (2, 2), (7, 8)]
  assert list(found)[:3] == [("T2I_Long", m) for m in ("IC", "PQ", "O")]


def test_the_average_is_of_groups_and_not_of_samples():
  found = table(
    [
      *(sample("T2I_Long", key, 10.0, 10.0) for key in range(9)),
      sample("T2I_Sem", 0, 0.0, 0.0),
      sample("Edit_Multi", 0, 0.0, 0.0),
      sample("Edit_Sem", 0, 0.0, 0.0),
    ]
  )
  assert found["Average", "O"].value == 2.5


def test_a_group_without_scores_leaves_no_average():
  names = [group.name for group in dataset.GROUPS]
  samples = [sample(name, 0, 5.0, 5.0) for name in names[:3]]
  samples.append(sample(names[3], 0, None, None, "PQ: no reply"))
  found = table(samples)
  assert found["Edit_Sem", "IC"].value is None
  assert found["Average", "IC"].value is None
  assert found["T2I_Long", "IC"].value == 5.0
  assert samples_lib.unjudged(samples) == {"PQ: no reply": 1}


def test_half_a_score_is_none():
  with pytest.raises(ValueError, match="expected both or neither"):
    sample("T2I_Long", 0, 5.0, None)


_SCORE = st.floats(0, 10)
_SAMPLES = st.lists(st.tuples(_SCORE, _SCORE), min_size=1, max_size=12)


@hypothesis.given(st.lists(_SAMPLES, min_size=4, max_size=4))
@hypothesis.settings(max_examples=15, deadline=None)
def test_o_is_at_most_the_geometric_mean_of_the_means(groups):
  """Cauchy-Schwarz; Table 4 holds to it too."""
  found = table(
    [
      sample(group.name, key, ic, pq)
      for group, scores in zip(dataset.GROUPS, groups)
      for key, (ic, pq) in enumerate(scores)
    ]
  )
  means = [
    statistics.fmean(math.sqrt(ic * pq) for ic, pq in scores)
    for scores in groups
  ]
  rows = [*(group.name for group in dataset.GROUPS), "Average"]
  for row, mean in zip(rows, [*means, statistics.fmean(means)]):
    ic, pq, o = (found[row, m].value for m in samples_lib.METRICS)
    assert o == pytest.approx(mean, abs=1e-9)
    assert o <= math.sqrt(ic * pq) + 1e-9
    for metric in samples_lib.METRICS:
      score = found[row, metric]
      if score.low is not None:
        assert 0 <= score.low <= score.value <= score.high <= 10 + 1e-9


def test_the_interval_narrows_with_samples():
  def width(count):
    samples = [
      sample(group.name, key, 3.0 + 4 * (key % 2), 5.0)
      for group in dataset.GROUPS
      for key in range(count)
    ]
    score = table(samples)["T2I_Long", "IC"]
    return score.high - score.low

  assert 0.5 < width(20) < 2.5
  assert width(80) < 0.7 * width(20)
