"""Saves and is killed, again and again: `killed.py WORKDIR KILLS SEED`.

Every process is forked before JAX has begun, which takes a tenth of the time
of a start. One line of JSON each: what it found, what it was sure of, and what
lay on the disk when it was killed.
"""

import itertools
import json
import os
import pathlib
import signal
import sys
import time

import jax
import numpy as np

from tests.checkpoints import states
from unialign_jax import checkpoint

_ROWS = 8192  # 4 MB a checkpoint


def save_on(workdir: pathlib.Path, told: int) -> None:
  """Checks what is there, then saves until it is killed.

  Args:
    workdir: of the run.
    told: file descriptor; the first line is what was found, each later one a
      step that is saved.
  """
  jax.config.update("jax_num_cpu_devices", 2)
  opened = checkpoint.Checkpoints(workdir, states.config())
  latest = opened.latest_step or 0
  found = {"latest": latest, "names": states.names(workdir)}
  if latest:
    like = states.abstract(states.state(0, _ROWS))
    states.assert_is(latest, opened.restore(like), _ROWS)
  os.write(told, json.dumps(found).encode() + b"\n")
  for step in itertools.count(latest + 1):
    opened.save(
      step, states.state(step, _ROWS), states.position(step), force=True
    )
    if step - 1 > latest:
      os.write(told, b"%d\n" % (step - 1))


def run_and_kill(workdir: pathlib.Path, rng: np.random.Generator) -> dict:
  """One process, killed at a moment of its first, second or third save."""
  reading, writing = os.pipe()
  child = os.fork()
  if not child:
    try:
      save_on(workdir, writing)
    finally:
      os._exit(1)
  os.close(writing)
  with os.fdopen(reading) as told:
    first = told.readline()
    if not first:
      raise RuntimeError("a process has found something else, see above")
    began = time.monotonic()
    whole = [int(told.readline()) for _ in range(rng.integers(3))]
    # A save takes as long as those before it, or a tenth of a second.
    each = (time.monotonic() - began) / len(whole) if whole else 0.1
    time.sleep(rng.uniform(0, each))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    whole += [int(line) for line in told if line.endswith("\n")]
  return json.loads(first) | {
    "saved": max(whole, default=0),
    "left": states.names(workdir),
  }


def main() -> None:
  workdir, kills, seed = sys.argv[1:]
  rng = np.random.default_rng(int(seed))
  for _ in range(int(kills)):
    print(json.dumps(run_and_kill(pathlib.Path(workdir), rng)), flush=True)


if __name__ == "__main__":
  main()
