"""Which worker a process is, from the flag or from what started it."""

import pytest

from unialign_jax.features import worker

SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}
JOB = {"JOB_COMPLETION_INDEX": "1", "PROCESSES_IN_JOB": "3"}
JOBSET = JOB | {"JOB_INDEX": "2", "JAX_PROCESS_COUNT": "9"}


@pytest.mark.parametrize(
  ("flag", "processes", "environment", "expected"),
  [
    (None, (0, 1), {}, (0, 1)),
    (None, (0, 1), SLURM, (3, 4)),
    (None, (0, 1), JOB, (1, 3)),
    (None, (0, 1), JOBSET, (7, 9)),
    (None, (1, 2), SLURM, (1, 2)),
    ("0/2", (1, 2), SLURM, (0, 2)),
    ("11/12", (0, 1), {}, (11, 12)),
  ],
)
def test_worker(flag, processes, environment, expected):
  found = worker.find(flag, processes=processes, environment=environment)
  assert found == expected


def test_the_environment_is_that_of_the_process(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  assert worker.find(None) == (3, 4)


@pytest.mark.parametrize("name", SLURM | JOBSET)
def test_a_missing_number_is_named(name):
  environment = SLURM if name in SLURM else JOBSET
  without = {k: v for k, v in environment.items() if k != name}
  if name in ("SLURM_PROCID", "JOB_COMPLETION_INDEX"):
    assert worker.find(None, environment=without) == (0, 1)
  elif name == "JOB_INDEX":
    assert worker.find(None, environment=without) == (1, 3)
  else:
    with pytest.raises(ValueError, match=f"{name}: got nothing.*--worker=i/n"):
      worker.find(None, environment=without)


@pytest.mark.parametrize("flag", ["2/2", "1", "a/b", "-1/2", "0/0", ""])
def test_bad_flags(flag):
  with pytest.raises(ValueError, match=r"--worker: got|--worker=i/n"):
    worker.find(flag)


def test_numbers_out_of_range():
  with pytest.raises(ValueError, match="by SLURM: got 4/4"):
    worker.find(None, environment=SLURM | {"SLURM_PROCID": "4"})
