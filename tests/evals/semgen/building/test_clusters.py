"""Clusters that can be seen, and choices spread over them."""

import numpy as np
import pytest

from unialign_jax.evals.semgen.building import clusters


def blobs(sizes, seed=0):
  """Vectors of length 1 around as many directions."""
  rng = np.random.default_rng(seed)
  rows = [
    np.eye(8)[k] + rng.normal(0, 0.05, 8)
    for k, size in enumerate(sizes)
    for _ in range(size)
  ]
  vectors = np.array(rows, np.float32)
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_largest_cluster_is_the_first():
  vectors = blobs([5, 20, 10])
  order = np.random.default_rng(1).permutation(35)
  labels = clusters.ward(vectors[order], 3)
  expected = np.repeat([2, 0, 1], [5, 20, 10])[order]
  np.testing.assert_array_equal(labels, expected)


def test_one_photograph_apart_is_no_category():
  """As it would be by single linkage."""
  angles = np.r_[np.linspace(0, 0.5, 20), np.linspace(0.55, 1.05, 20), 1.35]
  vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  labels = clusters.ward(vectors.astype(np.float32), 2)
  assert np.bincount(labels).min() > 10


def test_as_many_of_each():
  vectors = blobs([5, 20, 10])
  labels = clusters.ward(vectors, 3)
  picked = clusters.pick(vectors, labels, 4, seed=0)
  assert len(set(picked.tolist())) == 12
  np.testing.assert_array_equal(labels[picked], np.repeat([0, 1, 2], 4))
  np.testing.assert_array_equal(
    picked, clusters.pick(vectors, labels, 4, seed=0)
  )
  others = [clusters.pick(vectors, labels, 4, seed=s) for s in range(1, 5)]
  assert any((picked != other).any() for other in others)


def test_the_chosen_are_far_from_each_other():
  """One member stands alone, and is taken from any start."""
  vectors = np.array([[1, 0]] * 9 + [[0.8, 0.6]], np.float32)
  labels = np.zeros(10, int)
  for seed in range(5):
    picked = clusters.pick(vectors, labels, 2, seed)
    assert 9 in picked
    assert len(set(clusters.pick(vectors, labels, 10, seed).tolist())) == 10


def test_small_clusters_are_an_error():
  vectors = blobs([3, 20])
  labels = clusters.ward(vectors, 2)
  with pytest.raises(ValueError, match=r"one of 3 photographs .*\[20, 3\]"):
    clusters.pick(vectors, labels, 4, seed=0)


def test_too_few_or_the_same():
  with pytest.raises(ValueError, match="got 2 photographs, expected 3 to"):
    clusters.ward(blobs([2]), 3)
  with pytest.raises(ValueError, match="equally far"):
    clusters.ward(np.ones((9, 4), np.float32), 3)
