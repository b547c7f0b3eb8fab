"""Which of the workers this process is, and of how many.

Workers never talk: worker i of n writes the shards whose number is i modulo
n. Where they were started together, both numbers are in the environment:

  SLURM        SLURM_PROCID, SLURM_NTASKS: set by srun for every task.
  Kubernetes   JOB_COMPLETION_INDEX: set in the pods of an Indexed Job.
               PROCESSES_IN_JOB: pods a job, to be set to spec.completions.
  JobSet       besides these JOB_INDEX, from the annotation
               jobset.sigs.k8s.io/job-index, and JAX_PROCESS_COUNT, the pods of
               all jobs; to be set in the pod template.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple


class Worker(NamedTuple):
  """Worker `index` of `count`."""

  index: int
  count: int


def find(
  flag: str | None,
  *,
  processes: tuple[int, int] = (0, 1),
  environment: Mapping[str, str] = os.environ,
) -> Worker:
  """The worker that this process is.

  Args:
    flag: "i/n" of the command line, which goes before all else.
    processes: Index and count of the processes that JAX knows of.
    environment: Variables of the process.

  Raises:
    ValueError: numbers missing or out of range.
  """
  if flag is not None:
    if not (match := re.fullmatch(r"(\d+)/(\d+)", flag)):
      raise ValueError(f"--worker: got {flag!r}, expected i/n, such as 0/4")
    return _checked("--worker", *map(int, match.groups()))
  if processes[1] > 1:
    return _checked("JAX", *processes)
  if "SLURM_PROCID" in environment:
    names = ("SLURM_PROCID", "SLURM_NTASKS")
    return _checked("SLURM", *(_number(environment, name) for name in names))
  if "JOB_COMPLETION_INDEX" in environment:
    return _kubernetes(environment)
  return Worker(0, 1)


def _kubernetes(environment: Mapping[str, str]) -> Worker:
  in_job = _number(environment, "PROCESSES_IN_JOB")
  index = _number(environment, "JOB_COMPLETION_INDEX")
  if "JOB_INDEX" not in environment:
    return _checked("Kubernetes", index, in_job)
  job = _number(environment, "JOB_INDEX")
  count = _number(environment, "JAX_PROCESS_COUNT")
  return _checked("JobSet", job * in_job + index, count)


def _number(environment: Mapping[str, str], name: str) -> int:
  value = environment.get(name, "nothing")
  if not value.isdecimal():
    raise ValueError(
      f"environment variable {name}: got {value}, expected a number, as the"
      " variables say that this is one of several workers; set it, or give"
      " --worker=i/n"
    )
  return int(value)


def _checked(origin: str, index: int, count: int) -> Worker:
  if not 0 <= index < count:
    raise ValueError(
      f"worker, by {origin}: got {index}/{count}, expected i/n with"
      " 0 <= i < n; correct it, or give --worker=i/n"
    )
  return Worker(index, count)
