"""Loss spikes: their limit, the step that leaves them out, and going back."""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from tests.training import toy
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import guard
from unialign_jax.training import loop
from unialign_jax.training import meter
from unialign_jax.training import spikes

RULE = spikes.Rule(window=8, factor=5.0, sources=("a", "b"))
judge = jax.jit(RULE.judge)


def _judge_all(
  losses: list[tuple[int, float]], rule=judge
) -> tuple[list[bool], list[float], spikes.Spikes]:
  known, found, limits = spikes.fresh(), [], []
  for source, loss in losses:
    is_spike, limit, known = rule(known, jnp.int32(source), jnp.float32(loss))
    found.append(bool(is_spike))
    limits.append(float(limit))
  return found, limits, known


@pytest.mark.parametrize("known", [4, 5, 8])
def test_limit_is_the_median_and_its_deviation(known: int) -> None:
  losses = np.random.default_rng(known).normal(3, 1, 8).astype(np.float32)
  window = np.where(np.arange(8) < known, losses, np.float32(np.nan))
  there = losses[:known]
  sigma = 1.4826 * np.median(np.abs(there - np.median(there)))
  got = spikes.limit(jnp.asarray(window), 5.0)
  np.testing.assert_allclose(got, np.median(there) + 5 * sigma, rtol=1e-6)


def test_no_limit_before_half_a_window() -> None:
  window = jnp.asarray([1.0, 1.0, 1.0, *[np.nan] * 5], jnp.float32)
  assert spikes.limit(window, 5.0) == np.inf


def test_equal_losses_leave_room() -> None:
  limit = spikes.limit(jnp.full((8,), 2.0), 5.0)
  np.testing.assert_allclose(limit, 2.0 * (1 + 5e-3), rtol=1e-6)


def test_sources_have_windows_of_their_own() -> None:
  noise = np.random.default_rng(0).normal(0, 0.1, 10)
  losses = [(i % 2, 1.0 + 9.0 * (i % 2) + noise[i]) for i in range(10)]
  found, limits, known = _judge_all([*losses, (0, 10.0), (1, 10.0), (1, 30.0)])
  assert limits[:8] == [np.inf] * 8
  assert found == [False] * 10 + [True, False, True]
  assert int(known.count) == 2
  # Latest first.
  np.testing.assert_allclose(known.losses_SW[0, :2], [10.0, losses[8][1]])


def test_a_new_level_is_a_spike_for_half_a_window() -> None:
  levels = [1.0] * 8 + [2.0] * 8
  found, _, _ = _judge_all([(0, level) for level in levels])
  assert found == [False] * 8 + [True] * 4 + [False] * 4


def test_only_the_window_counts() -> None:
  _, limits, known = _judge_all([(0, x) for x in [50.0] * 8 + [1.0] * 9])
  np.testing.assert_allclose(limits[-1], 1.005, rtol=1e-6)
  assert np.isfinite(known.losses_SW[0]).sum() == 17


def test_what_is_not_finite_is_no_spike_and_not_kept() -> None:
  found, _, known = _judge_all([(0, x) for x in [1.0] * 5 + [np.nan, np.inf]])
  assert not any(found)
  want = [1.0] * 5 + [np.nan]
  np.testing.assert_array_equal(known.losses_SW[0, :6], want)


def test_another_source_begins_anew() -> None:
  _, _, known = _judge_all([(0, 1.0)] * 5)
  other = spikes.Rule(window=8, factor=5.0, sources=("c", "b"))
  is_spike, limit, known = other.judge(known, jnp.int32(0), jnp.float32(9.0))
  assert not is_spike and limit == np.inf
  assert np.isfinite(known.losses_SW[0]).sum() == 1


@pytest.fixture(scope="module", autouse=True)
def compile_once(compiled: pathlib.Path) -> Iterator[None]:
  del compiled
  yield


@pytest.fixture
def values(tiny: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  tiny.optimizer.update(warmup_steps=100, schedule="constant")
  tiny.train.update(
    steps=10,
    checkpoint_every=3,
    keep_checkpoints=9,
    spike_window=4,
    # Of two to four losses, whose deviation may be next to nothing.
    spike_factor=1000.0,
  )
  return tiny


def _run(values: ml_collections.ConfigDict, workdir: pathlib.Path) -> int:
  return loop.run(config_lib.from_dict(values), workdir)


def _steps(workdir: pathlib.Path) -> list[int]:
  return [line["step"] for line in toy.lines(workdir / "metrics.jsonl")]


def _kinds(workdir: pathlib.Path) -> list[tuple[int, str]]:
  incidents = toy.lines(workdir / "incidents.jsonl")
  return [(x["step"], x["kind"]) for x in incidents]


def _losses(workdir: pathlib.Path) -> dict[int, float]:
  lines = toy.lines(workdir / "metrics.jsonl")
  return {line["step"]: line["loss/total"] for line in lines}


def _assert_same_weights(*workdirs: pathlib.Path) -> None:
  first, *others = [checkpoint.load_params(w, ema=False)[1] for w in workdirs]
  for other in others:
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_a_spike_has_no_update_and_is_noted(
  values: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  # A checkpoint between: the windows come back with it.
  toy.install(monkeypatch, spoiled={7: 100.0})
  values.train.steps = 6
  assert _run(values, tmp_path) == 6
  values.train.steps = 10
  assert _run(values, tmp_path) == 10
  (incident,) = toy.lines(tmp_path / "incidents.jsonl")
  assert (incident["step"], incident["kind"]) == (8, "spike")
  assert incident["loss/total"] > incident["spike_limit"] > 0
  lines = toy.lines(tmp_path / "metrics.jsonl")
  assert [line["spikes"] for line in lines] == [0] * 7 + [1] * 3
  assert [line["skipped"] for line in lines] == [0] * 10
  # The schedule waits, too.
  rates = [line["learning_rate"] for line in lines]
  assert rates[7] == rates[8] and len(set(rates)) == 9
  assert _run(values, tmp_path / "whole") == 10
  (same,) = toy.lines(tmp_path / "whole/incidents.jsonl")
  assert same == incident | {"time": same["time"]}
  with monkeypatch.context() as patch:  # no update can come of this one
    toy.install(patch, spoiled={7: float("nan")})
    assert _run(values, tmp_path / "nan") == 10
  _assert_same_weights(tmp_path, tmp_path / "whole", tmp_path / "nan")


@pytest.fixture
def rewinding(values: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  values.train.on_spike = "rewind"
  return values


def test_a_rewind_goes_on_behind_the_spike(
  rewinding: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  with monkeypatch.context() as patch:
    # Step 8 is read while step 9 runs; step 9 is forgotten.
    seen = toy.install(patch, spoiled={7: 100.0})
    assert _run(rewinding, tmp_path / "rewound") == 10
  assert seen.indices() == [*range(9), 8, 9, 10, 11]
  assert _steps(tmp_path / "rewound") == [*range(1, 9), *range(7, 11)]
  assert _kinds(tmp_path / "rewound") == [(8, "spike"), (8, "rewind")]
  lines = toy.lines(tmp_path / "rewound/metrics.jsonl")
  assert lines[-1]["spikes"] == 0  # the state is of before
  assert lines[-1]["seconds/redone"] > 0

  with monkeypatch.context() as patch:
    toy.install(patch, instead={6: 8})
    assert _run(rewinding, tmp_path / "without") == 10
  assert _losses(tmp_path / "rewound") == _losses(tmp_path / "without")
  _assert_same_weights(tmp_path / "rewound", tmp_path / "without")

  with monkeypatch.context() as patch:
    seen = toy.install(patch, spoiled={7: 100.0})
    add = meter.Meter.add

    def add_or_die(self: meter.Meter, step: int, *rest: object) -> None:
      add(self, step, *rest)
      if step == 8 and len(seen.batches) > 9:
        raise KeyboardInterrupt  # after the rewind, before a checkpoint

    patch.setattr(meter.Meter, "add", add_or_die)
    with pytest.raises(KeyboardInterrupt):
      _run(rewinding, tmp_path / "killed")
    patch.setattr(meter.Meter, "add", add)
    assert _run(rewinding, tmp_path / "killed") == 10
  assert seen.indices() == [*range(9), 8, 9, *range(8, 12)]
  _assert_same_weights(tmp_path / "killed", tmp_path / "without")


def test_a_spike_where_a_checkpoint_is_due_goes_back_behind_it(
  rewinding: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  seen = toy.install(monkeypatch, spoiled={8: 100.0})
  assert _run(rewinding, tmp_path) == 10
  assert seen.indices() == [*range(9), 9, 10, 11, 12]
  assert _kinds(tmp_path) == [(9, "spike"), (9, "rewind")]
  # The task of a step is its batch's, no longer its number's.
  tasks = [s.rpartition("/")[2] for s, _ in rewinding.data.sources]
  lines = toy.lines(tmp_path / "metrics.jsonl")[-4:]
  for line, (_, source_id, _) in zip(lines, seen.batches[-4:], strict=True):
    assert f"loss/flow/{tasks[source_id]}" in line


def test_rewinds_to_one_checkpoint_end(
  rewinding: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  rewinding.train.max_rewinds = 2
  toy.install(monkeypatch, spoiled=dict.fromkeys((7, 8, 9), 100.0))
  with pytest.raises(guard.BadStepsError, match=r"(?s)2 rewinds.*step_0+6;"):
    _run(rewinding, tmp_path)
  # Also at another start, which knows of the rewinds before.
  with pytest.raises(guard.BadStepsError, match=r"2 rewinds"):
    _run(rewinding, tmp_path)


def test_without_a_checkpoint_a_spike_is_left_out(
  rewinding: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  rewinding.train.checkpoint_every = 100
  seen = toy.install(monkeypatch, spoiled={7: 100.0})
  assert _run(rewinding, tmp_path) == 10
  assert seen.indices() == [*range(10)]
  assert _kinds(tmp_path) == [(8, "spike")]
