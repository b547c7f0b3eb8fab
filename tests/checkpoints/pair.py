"""One of two processes of a run: `pair.py WORKDIR COORDINATOR INDEX`.

Waits until the workdir is free, restores, and saves the step after. What it
saw is one line of JSON.
"""

import contextlib
import json
import pathlib
import sys

import jax

from tests.checkpoints import states
from unialign_jax import checkpoint


def main() -> None:
  workdir, coordinator, index = sys.argv[1:]
  jax.distributed.initialize(coordinator, 2, int(index))
  workdir = pathlib.Path(workdir)
  told = ""
  try:
    checkpoint.Checkpoints(workdir, states.config())
  except RuntimeError as error:
    told = str(error)
  print(json.dumps({"refused": told}), flush=True)
  sys.stdin.readline()  # now it is free
  opened = checkpoint.Checkpoints(workdir, states.config())
  with contextlib.closing(opened):
    latest = opened.latest_step
    state, position = opened.restore(states.abstract(states.state(0)))
    kernel = state.params["kernel"]
    opened.save(
      latest + 1, states.state(latest + 1), states.position(latest + 1)
    )
  seen = {"latest": latest, "position": position}
  seen["rows"] = [s.index[0].start or 0 for s in kernel.addressable_shards]
  print(json.dumps(seen), flush=True)


if __name__ == "__main__":
  main()
