"""The order of tasks: exact shares, evenly spread, a function of the step."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from unialign_jax.data import mixture


@pytest.mark.parametrize(
  ("weights", "counts"),
  [
    ((1,), [1]),
    ((2, 2, 2), [1, 1, 1]),
    ((0.5, 0.3, 0.2), [5, 3, 2]),
    ((0.7, 0.01, 0.29), [70, 1, 29]),
    ((1, 999), [1, 999]),
    ((np.pi, 1, 1), [611, 195, 194]),  # no exact period up to 1000
  ],
)
def test_shares_are_exact_over_a_period(weights, counts):
  order = mixture.StepOrder(weights)
  assert order.counts == counts
  assert order.period == sum(counts)
  for start in (0, 17):
    sources = [order.source_at(start + i) for i in range(order.period)]
    assert np.bincount(sources).tolist() == counts


def test_steps_of_each_source_are_counted():
  order = mixture.StepOrder((0.5, 0.3, 0.2))
  sources = [order.source_at(step) for step in range(25)]
  for step in range(25):
    expected = np.bincount(sources[:step], minlength=3).tolist()
    assert order.drawn_before(step) == expected
    assert order.steps_before(step) == expected[sources[step]]


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.example([9, 5])
@hypothesis.given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_every_stretch_keeps_near_the_shares(weights):
  order = mixture.StepOrder(weights)
  steps = range(2 * order.period)
  sources = np.array([order.source_at(step) for step in steps])
  for source, weight in enumerate(weights):
    done = np.cumsum(sources == source)
    due = (np.arange(len(sources)) + 1) * weight / sum(weights)
    assert np.abs(done - due).max() <= len(weights) / 2


def test_steps_before_counts_earlier_steps_of_the_same_source():
  order = mixture.StepOrder((0.5, 0.3, 0.2))
  seen = [0, 0, 0]
  for step in range(37):
    source = order.source_at(step)
    assert order.steps_before(step) == seen[source]
    seen[source] += 1


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -1), (1, float("nan"))])
def test_weights_must_be_positive(weights):
  with pytest.raises(ValueError, match=r"data\.sources: got weights"):
    mixture.StepOrder(weights)


def test_a_weight_too_small_is_refused_not_dropped():
  with pytest.raises(ValueError, match=r"0\.0005 of the sum"):
    mixture.StepOrder((0.0005, 0.9995))


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_parts_end_to_end_are_the_batch(hosts):
  order, batch_size = mixture.StepOrder((2, 1)), 8
  selection = mixture.BlockSelection(order, batch_size, hosts)
  for step in range(6):
    block = range(step * batch_size, (step + 1) * batch_size)
    # ElasticIterator gives host h the elements h, h + hosts, ... of a block.
    dealt = [selection[i] for h in range(hosts) for i in block[h::hosts]]
    start = order.steps_before(step) * batch_size
    expected = [(order.source_at(step), start + i) for i in range(batch_size)]
    assert dealt == expected
