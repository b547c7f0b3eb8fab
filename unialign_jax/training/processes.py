"""Joins the processes of a run, one a host, into one JAX, and parts them.

A run of one process joins too: what stops several together (preemption) is
then the same code for one.
"""

import contextlib
import os
import socket
import sys
import threading
import traceback

import jax

# A process that is lost ends the others after so long.
HEARTBEAT_SECONDS = 30
# So long one that fails waits for the others to come to the same end.
_PATIENCE_SECONDS = 10
# What JAX says where nothing tells it of other processes.
_NO_CLUSTER = "coordinator_address should be defined"
_joined = threading.Event()  # set where there may be other processes


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
    _joined.set()
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
  if count > 1:
    _joined.set()


def leave(status: int) -> None:
  """Ends this process if it is one of several; to be called when it has failed.

  JAX would wait for all the others at the end of the process, for 300 seconds
  and with its heartbeat going on, and they would wait for this one in a step.
  Here it waits only as long as a failure that all have takes to reach all, so
  that each ends with its own status. Then it is lost, which ends the others.

  Args:
    status: to end with. The exception that is being handled is printed, unless
      it is SystemExit.
  """
  if not _joined.is_set():
    return
  if not isinstance(sys.exception(), SystemExit):
    traceback.print_exc()
  meeting = threading.Thread(target=_meet, daemon=True)
  meeting.start()
  meeting.join(_PATIENCE_SECONDS)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def _meet() -> None:
  with contextlib.suppress(Exception):  # some may be gone by now
    jax.distributed.shutdown()
