"""Measurements that are kept, and pools that are too large."""

import pytest

from tests.evals.semgen.building import writer
from unialign_jax.evals.semgen.building import filters
from unialign_jax.evals.semgen.building import measuring
from unialign_jax.evals.semgen.building import pool


@pytest.fixture
def candidates(tmp_path):
  return pool.read(writer.pool(tmp_path / "images", each=2))


def test_nothing_is_measured_twice(tmp_path, candidates):
  path = tmp_path / "measured.jsonl"
  first = measuring.fit(candidates, filters.Bounds(), path)
  assert first.counts == {"fit": 6}
  for one in candidates:
    one.path.write_bytes(b"no picture any more")
  assert measuring.fit(candidates, filters.Bounds(), path) == first
  assert len(path.read_text().splitlines()) == 6
  # Other bounds are another question.
  other = measuring.fit(candidates, filters.Bounds(min_side=100), path)
  assert other.counts == {"unreadable": 6}


def test_a_large_pool_is_drawn_from(tmp_path, candidates):
  def drawn(seed):
    found = measuring.fit(
      candidates, filters.Bounds(), tmp_path / "m.jsonl", most=4, seed=seed
    )
    assert found.counts == {"fit": 4, "not drawn": 2}
    assert len(found.measured) == 4
    return [one.name for one in found.candidates]

  assert drawn(0) == drawn(0) == sorted(drawn(0))
  assert any(drawn(seed) != drawn(0) for seed in range(1, 6))


def test_a_damaged_line_is_named(tmp_path, candidates):
  path = tmp_path / "measured.jsonl"
  path.write_text('{"name": "a.jpg"}\n')
  with pytest.raises(ValueError, match=r"measured\.jsonl, line 1: got"):
    measuring.fit(candidates, filters.Bounds(), path)
