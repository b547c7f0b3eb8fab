"""Joins the processes of a run, one a host, into one JAX.

A run of one process joins too: what stops several together (preemption) is
then the same code for one.
"""

import socket

import jax

# A process that is lost ends the others after so long.
HEARTBEAT_SECONDS = 30
# What JAX says where nothing tells it of other processes.
_NO_CLUSTER = "coordinator_address should be defined"


def join(coordinator: str, count: int | None, index: int | None) -> None:
  """Joins by what is given, or by what started this process; once.

  What JAX reads by itself: metadata of TPU VMs and GKE (JobSet), SLURM, MPI.
  Where there is none of it, this process is alone.

  Args:
    coordinator: HOST:PORT of process 0, "" for what started this process.
    count: processes in all, with a coordinator.
    index: of this process, from 0, with a coordinator.

  Raises:
    ValueError: some of the three without the others.
  """
  given = (bool(coordinator), count is not None, index is not None)
  if any(given) and not all(given):
    raise ValueError(
      "--coordinator, --num_processes, --process_id: got"
      f" {coordinator!r}, {count}, {index}; expected all three or none."
    )
  if coordinator:
    _initialize(coordinator, count, index)
    return
  try:
    jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
  except ValueError as error:
    if _NO_CLUSTER not in str(error):
      raise
    with socket.create_server(("127.0.0.1", 0)) as server:
      port = server.getsockname()[1]
    _initialize(f"127.0.0.1:{port}", 1, 0)


def _initialize(coordinator: str, count: int, index: int) -> None:
  jax.distributed.initialize(
    coordinator, count, index, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
  )
