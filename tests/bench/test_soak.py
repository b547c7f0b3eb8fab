"""How the two runs of a soak are compared."""

import pytest

from unialign_jax.bench import soak_report
from unialign_jax.bench import soak_run


def test_each_step_and_value_is_compared():
  alone = [{"step": 1, "loss/a": 2.0}, {"step": 2, "loss/a": 3.0}]
  killed = [
    {"step": 1, "loss/a": 2.0, "seconds/step": 5.0},
    {"step": 1, "loss/a": 2.5, "grad_norm": 1.0},
    {"step": 3, "loss/a": 2.5},  # behind the last checkpoint
  ]
  assert soak_report._differing(killed, alone, 2) == [
    "step 2: missing",
    "step 1: loss/a",
    "step 1: grad_norm",
  ]


@pytest.mark.parametrize(
  ("status", "failures"), [(143, []), (3, ["supervisor ended with 3"])]
)
def test_a_supervisor_that_gave_up_is_told(status: int, failures: list[str]):
  kill = soak_run.Kill(seconds=1.0, signal="SIGKILL")
  killed = soak_run.Watched(status=status, seconds=9.0, looks=[], kills=[kill])
  report = soak_report.Report(
    killed=killed,
    alone=soak_run.Watched(status=0, seconds=9.0, looks=[], kills=[]),
    steps=2,
    seed=0,
    redone=1,
    behind=0,
    compiled=[5, 0],
    differing=[],
    arrays=(3, 0),
    growth={},
    leftovers=[],
  )
  assert len(report.failures) == len(failures)
  for told, part in zip(report.failures, failures):
    assert part in told
