"""15 categories by Ward's method, and as many photographs of each."""

import numpy as np
from scipy.cluster import hierarchy

# The distances of 20,000 photographs are 1.6 GB.
MOST = 20_000


def ward(vectors: np.ndarray, count: int = 15) -> np.ndarray:
  """Labels of a hierarchical clustering, by falling size.

  Ward's method, Euclidean, on vectors of length 1, where that distance grows
  with the cosine distance. The paper names neither linkage nor metric.

  Args:
    vectors: float32 [n, d] of length 1, n at most 20,000.
    count: of clusters.

  Returns:
    ints [n] from 0, the largest cluster first.

  Raises:
    ValueError: too few or too many vectors, or ties that leave fewer clusters.
  """
  if not count <= len(vectors) <= MOST:
    raise ValueError(
      f"clusters: got {len(vectors)} photographs, expected {count} to {MOST}"
    )
  tree = hierarchy.linkage(vectors.astype(np.float64), method="ward")
  labels = hierarchy.fcluster(tree, count, criterion="maxclust") - 1
  sizes = np.bincount(labels)
  if len(sizes) != count:
    raise ValueError(
      f"clusters: got {len(sizes)} of {count}, as photographs are equally far"
      " from each other; are there copies among them?"
    )
  # Stable, so that equal sizes keep one order.
  order = np.argsort(-sizes, kind="stable")
  return np.argsort(order)[labels]


def pick(
  vectors: np.ndarray, labels: np.ndarray, each: int, seed: int
) -> np.ndarray:
  """Chooses as many of each cluster, far from each other.

  The first of a cluster is drawn; then always the one farthest from those
  already chosen.

  Args:
    vectors: float32 [n, d] of length 1.
    labels: ints [n], of `ward`.
    each: of a cluster.
    seed: of the first ones.

  Returns:
    Indices, those of cluster 0 first.

  Raises:
    ValueError: a cluster with fewer members.
  """
  sizes = np.bincount(labels)
  if sizes.min() < each:
    raise ValueError(
      f"clusters: got one of {sizes.min()} photographs (all sizes:"
      f" {sizes.tolist()}), expected at least {each} in each; give more"
      " photographs, or fewer --clusters"
    )
  rng = np.random.default_rng(seed)
  chosen = []
  for label in range(len(sizes)):
    members = np.flatnonzero(labels == label)
    chosen.append(members[_farthest(vectors[members], each, rng)])
  return np.concatenate(chosen)


def _farthest(
  vectors: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
  chosen = [int(rng.integers(len(vectors)))]
  nearest = np.full(len(vectors), np.inf)
  while len(chosen) < count:
    distance = ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=-1)
    nearest = np.minimum(nearest, distance)
    nearest[chosen] = -1.0  # also where copies are at distance 0
    chosen.append(int(nearest.argmax()))
  return np.array(chosen)
