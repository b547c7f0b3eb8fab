"""A run that goes on with another config: what is refused, what is told."""

import contextlib
import pathlib
from typing import Any

import pytest

from tests.checkpoints import states
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.checkpoint import folders
from unialign_jax.training import lines

BATCH, STEPS = 16, 10
TWO = (("a", 2 / 3), ("b", 1 / 3))


def _config(**data: Any) -> config_lib.Config:
  values = config_lib.load_file("tiny.py")
  values.data.update({"sources": TWO, "batch_size": BATCH} | data)
  return config_lib.from_dict(values)


def _open(workdir: pathlib.Path, config: config_lib.Config) -> None:
  checkpoint.Checkpoints(workdir, config).close()


def _save(workdir: pathlib.Path, config: config_lib.Config) -> None:
  opened = checkpoint.Checkpoints(workdir, config)
  with contextlib.closing(opened):
    position = {"global_next_index": STEPS * config.data.batch_size}
    opened.save(STEPS, states.state(STEPS), position, force=True)


@pytest.fixture
def workdir(tmp_path: pathlib.Path) -> pathlib.Path:
  """A run of two sources, saved after ten steps: seven of a, three of b."""
  _save(tmp_path, _config())
  return tmp_path


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (
      {"batch_size": 8},
      r"batch_size: got 8, the run has 16: a goes back from example 112 to 104:"
      r" 8 come again; b goes from example 48 to 56: 8 are left out",
    ),
    ({"batch_size": 24}, "got 24, .*: 160 examples are taken, no multiple"),
    ({"shuffle_seed": 5}, "shuffle_seed: got 5, the run has 0: .* order"),
  ],
)
def test_records_that_would_come_again_or_not_at_all_are_refused(
  data: dict[str, Any], reason: str, workdir: pathlib.Path
):
  before = (workdir / checkpoint.CONFIG_FILE).read_text()
  for _ in range(2):  # the refused start has left nothing
    with pytest.raises(
      ValueError, match=rf"(?s)after step 10 .*{reason}.*init_from={workdir}"
    ):
      _open(workdir, _config(**data))
  assert (workdir / checkpoint.CONFIG_FILE).read_text() == before
  _open(workdir, _config())


def test_both_reasons_are_told_at_once(workdir: pathlib.Path):
  with pytest.raises(ValueError, match=r"shuffle_seed: .*\n.*batch_size: "):
    _open(workdir, _config(shuffle_seed=5, batch_size=8))


def test_a_batch_size_that_leaves_every_source_where_it_is(
  tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  even = (("a", 0.5), ("b", 0.5))
  _save(tmp_path, _config(sources=even))
  half = _config(sources=even, batch_size=8)
  _open(tmp_path, half)
  assert "batch_size: 16 -> 8: each source goes on where it" in caplog.text
  lines.append(
    tmp_path / "rewinds.jsonl", {"checkpoint": STEPS, "next_batch": 12}
  )
  with pytest.raises(ValueError, match=r"got 8, .*: rewinds\.jsonl counts"):
    _open(tmp_path, half)


def test_a_mixture_may_change_and_its_consequences_are_told(
  workdir: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  mixed = _config(sources=(("a", 1 / 3), ("c", 1 / 3), ("b", 1 / 3)))
  for _ in range(2):  # what counts is with which config it was saved
    caplog.clear()
    _open(workdir, mixed)
    (message,) = [r.getMessage() for r in caplog.records]
    assert f"--workdir {workdir}, after step 10: config.data.sources: [" in (
      message
    )
    assert message.endswith(
      ": a goes back from example 112 to 64: 48 come again; c is new, and"
      " begins with example 48; b was source 1 and is 2: its records come in"
      " another order, from example 48 on (it was at 48)"
    )
  assert folders.read_config(workdir)["data"]["sources"][1] == ["c", 1 / 3]
  caplog.clear()
  _open(workdir, _config(sources=(("a", 1.0),)))
  assert "a goes from example 112 to 160: 48 are left out; b is no" in (
    caplog.text
  )


def test_a_rewind_that_is_remembered_counts(
  workdir: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  lines.append(
    workdir / "rewinds.jsonl", {"checkpoint": STEPS, "next_batch": 12}
  )
  _open(workdir, _config(sources=(("a", 1 / 2), ("b", 1 / 2))))
  assert "a goes back from example 128 to 96" in caplog.text


def test_other_keys_that_change_the_run_are_told(
  workdir: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  values = config_lib.load_file("tiny.py")
  values.data.update(sources=TWO, batch_size=BATCH, num_threads=3)
  values.seed = 7
  values.loss.text_weight = 0.75
  values.diffusion.flow_t_mean = 0.25
  values.optimizer.learning_rate = 0.125
  values.train.log_every = 3
  _open(workdir, config_lib.from_dict(values))
  told = [
    r.getMessage().partition("after step 10: ")[2] for r in caplog.records
  ]
  tiny = config_lib.load_file("tiny.py")
  assert sorted(told) == [
    f"config.diffusion.flow_t_mean: {tiny.diffusion.flow_t_mean} -> 0.25",
    f"config.loss.text_weight: {tiny.loss.text_weight} -> 0.75",
    f"config.optimizer.learning_rate: {tiny.optimizer.learning_rate} -> 0.125",
    "config.seed: 0 -> 7: noise, times and masks to come are others",
  ]


def test_the_same_config_goes_on_without_a_word(
  workdir: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  _open(workdir, _config())
  assert not caplog.records
