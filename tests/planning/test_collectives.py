"""Bytes over the links, read off HLO text."""

import pathlib

import pytest

from unialign_jax.planning import collectives

HLO = (pathlib.Path(__file__).parent / "module.hlo").read_text()


def test_loops_multiply_and_repeats_count_once():
  sums = collectives.by_kind(collectives.read(HLO))
  assert sums == {
    # 24 rounds of 64 bytes, three quarters sent; and 20 bytes, half sent.
    "all-gather": pytest.approx(24 * 64 * 3 / 4 + 20 / 2),
    "reduce-scatter": pytest.approx(64 * 3 / 4),
    "all-reduce": pytest.approx(2 * 32 / 2),
    "collective-permute": pytest.approx(20),
  }
  assert next(iter(sums)) == "all-gather"


def test_what_is_gathered_is_told_with_its_source():
  (gather, _) = (
    one for one in collectives.read(HLO) if one.kind == "all-gather"
  )
  assert gather.shapes == (("bf16", (8, 4)),)
  assert (gather.group, gather.times, gather.source) == (4, 24, "layer/kernel")
