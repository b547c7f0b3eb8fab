"""Ctrl-C where Python would ignore it.

An exception in a callback of the garbage collector (JAX has one) or in a
finaliser is printed and dropped, and so is the KeyboardInterrupt of a signal
that comes at that moment: the program would go on.
"""

import os
import signal
import sys
import threading
from typing import Any

_SECONDS = 0.05  # until the callback has ended


def keep(number: int = signal.SIGINT) -> None:
  """From now on such an interrupt is sent once more.

  Args:
    number: the signal whose handler raises KeyboardInterrupt.
  """
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
      again = threading.Timer(_SECONDS, os.kill, (os.getpid(), number))
      again.daemon = True
      again.start()
    else:
      before(unraisable)

  sys.unraisablehook = hook
