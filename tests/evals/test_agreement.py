"""Agreement of two scorers, computed by hand."""

import pytest

from unialign_jax.evals import agreement


def _between(first: str, second: str) -> agreement.Agreement:
  return agreement.between(dict(enumerate(first)), dict(enumerate(second)))


def test_kappa_of_a_known_table():
  # Cohen's table with 20, 5, 10 and 15 of 50: equal 0.7, by chance 0.5.
  first = "y" * 25 + "n" * 25
  second = "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15
  found = _between(first, second)
  assert found.both == 50
  assert found.equal == pytest.approx(0.7)
  assert found.kappa == pytest.approx(0.4)


def test_full_agreement_and_full_disagreement():
  assert _between("yn", "yn").kappa == 1.0
  assert _between("yn", "ny").kappa == -1.0
  assert _between("yn", "ny").equal == 0.0


def test_nothing_but_luck_has_no_kappa():
  found = _between("yyy", "yyy")
  assert (found.equal, found.kappa) == (1.0, None)
  # One always says yes: the other's no are just what chance gives.
  assert _between("yyyy", "ynyn").kappa == 0.0


def test_only_shared_samples_count():
  found = agreement.between({1: "y", 2: "n"}, {2: "n", 3: "y"})
  assert (found.both, found.equal) == (1, 1.0)
  found = agreement.between({1: "y"}, {2: "y"})
  assert found == agreement.Agreement(both=0, equal=None, kappa=None)


def test_as_scores():
  equal, kappa = agreement.scores({1: True, 2: False}, {1: True, 2: True}, 5)
  assert (equal.value, equal.scored, equal.expected) == (0.5, 2, 5)
  assert (kappa.metric, kappa.value) == ("Cohen's kappa", 0.0)
