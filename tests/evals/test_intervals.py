"""Bootstrap intervals against what is known of means."""

import numpy as np
import pytest

from unialign_jax.evals import intervals


def test_a_share_has_the_interval_that_the_binomial_says():
  values = np.arange(400) < 300
  found = intervals.mean(values.astype(float))
  assert found.value == 0.75
  half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
  assert found.low == pytest.approx(0.75 - half, abs=0.006)
  assert found.high == pytest.approx(0.75 + half, abs=0.006)


def test_it_holds_the_mean_of_the_population_nineteen_times_of_twenty():
  rng = np.random.default_rng(0)
  found = [intervals.mean(rng.exponential(size=60), seed=i) for i in range(200)]
  held = np.mean([one.low <= 1 <= one.high for one in found])
  assert 0.88 <= held <= 0.98


def test_the_same_seed_gives_the_same_interval_and_another_another():
  values = np.random.default_rng(0).random(50)
  assert intervals.mean(values, seed=3) == intervals.mean(values, seed=3)
  assert intervals.mean(values, seed=3) != intervals.mean(values, seed=4)


def test_groups_count_the_same_whatever_their_sizes():
  small, large = [1.0, 1.0, 0.0, 0.0], [1.0] * 96
  found = intervals.mean_of_groups([small, large])
  assert found.value == 0.75
  # All that moves is the small group: a quarter of a share of 4, each way.
  assert found.low == pytest.approx(0.5, abs=0.13)
  assert found.high == pytest.approx(1.0, abs=0.13)


def test_groups_are_resampled_each_for_itself():
  found = intervals.mean_of_groups([[0.0] * 20, [1.0] * 20])
  assert found == (0.5, 0.5, 0.5)


def test_a_group_of_one_stands_still():
  values = list(np.random.default_rng(0).random(40))
  alone = intervals.mean(values)
  found = intervals.mean_of_groups([values, [1.0]])
  assert found.value == pytest.approx((alone.value + 1) / 2)
  assert found.low == pytest.approx((alone.low + 1) / 2)
  assert found.high == pytest.approx((alone.high + 1) / 2)


def test_of_nothing_and_of_one_little_can_be_said():
  assert intervals.mean([]) == (None, None, None)
  assert intervals.mean_of_groups([]) == (None, None, None)
  assert intervals.mean_of_groups([[1.0, 0.0], []]) == (None, None, None)
  assert intervals.mean([0.5]) == (0.5, None, None)


def test_equal_values_are_inside_their_interval():
  found = intervals.mean([0.1] * 7)
  assert found.low <= found.value <= found.high
  assert found.low == pytest.approx(0.1)
