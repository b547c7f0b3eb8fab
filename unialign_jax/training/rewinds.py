"""Going back to a checkpoint and on with other data, across restarts.

A rewind to the checkpoint of step c, because of global batch n, goes on from c
with batch n + 1: what lies between is left out. rewinds.jsonl remembers it,
for until the next checkpoint a start would begin at c with the data of c.
"""

import pathlib
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from unialign_jax.training import lines

FILE = "rewinds.jsonl"


class Rewinds:
  """The rewinds of a workdir."""

  def __init__(self, workdir: pathlib.Path, *, active: bool):
    """Reads them.

    Args:
      workdir: of the run.
      active: whether this process writes.
    """
    self._path = workdir / FILE
    self._active = active
    self._known = lines.read(self._path)

  def count(self, checkpoint: int) -> int:
    """How often the run went back to the checkpoint of this step.

    Every process has to ask.
    """
    return _agreed(sum(r["checkpoint"] == checkpoint for r in self._known))

  def next_index(self, checkpoint: int, index: int) -> int:
    """The batch to go on with from a checkpoint. Every process has to ask.

    Args:
      checkpoint: its step.
      index: the batch that the checkpoint itself names.
    """
    later = [
      r["next_batch"] for r in self._known if r["checkpoint"] == checkpoint
    ]
    return _agreed(max([index, *later]))

  def add(self, *, step: int, checkpoint: int, index: int) -> None:
    """Remembers one, before it is done.

    Args:
      step: that was bad.
      checkpoint: step of the one gone back to.
      index: the batch to go on with.
    """
    record = {
      "time": round(time.time(), 3),
      "step": step,
      "checkpoint": checkpoint,
      "next_batch": index,
    }
    self._known.append(record)
    if self._active:
      lines.append(self._path, record)


def _agreed(number: int) -> int:
  """Process 0's: another host may see the file as it was a moment ago."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))
