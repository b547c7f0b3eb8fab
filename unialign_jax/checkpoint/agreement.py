"""What the processes of a run must see alike: one decides, or all are asked."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

_BYTES = 2048  # of what one process says, the rest is cut


def gather(text: str) -> list[str]:
  """What each process says, in their order; all of them must ask."""
  if jax.process_count() == 1:
    return [text]
  row = np.zeros(_BYTES, np.uint8)
  said = np.frombuffer(text.encode()[:_BYTES], np.uint8)
  row[: len(said)] = said
  rows = multihost_utils.process_allgather(row)
  return [bytes(r).rstrip(b"\0").decode(errors="replace") for r in rows]


def first_acts(action: Callable[[], None]) -> None:
  """Process 0 acts and the others wait; its error is the error of all.

  Raises:
    Exception: on process 0 what the action raises; on the others ValueError
      for a ValueError, so that all have the same exit status, and
      RuntimeError for anything else.
  """
  error = None
  if jax.process_index() == 0:
    try:
      action()
    except Exception as raised:  # the others must not wait for it
      error = raised
  kind = "" if error is None else type(error).__name__
  mistake = "mistake" if isinstance(error, ValueError) else "failure"
  told = gather(f"{mistake}: {kind}: {error}" if kind else "")[0]
  if error is not None:
    raise error
  if told:
    what, told = told.split(": ", 1)
    raise (ValueError if what == "mistake" else RuntimeError)(
      f"process 0: {told}"
    )
