"""Signals that ask a run to save and stop."""

import os
import signal
from types import FrameType
from typing import Any

import jax


class StopRequest:
  """Turns the first Ctrl-C or SIGTERM into "save and stop after this step".

  The second Ctrl-C interrupts at once. With several processes SIGTERM is left
  to JAX's preemption service, which makes all of them stop at one step, and
  Ctrl-C is handed on to it: a process that stopped by itself would wait for
  the others in the save, and they for it in the next step.

  Attributes:
    received: name of the signal after which this process, which is alone, is to
      save and stop.
  """

  def __init__(self) -> None:
    self.received: str | None = None
    self._alone = jax.process_count() == 1
    self._before: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    numbers = [signal.SIGINT] + [signal.SIGTERM] * self._alone
    for number in numbers:
      self._before[number] = signal.signal(number, self._receive)
    return self

  def __exit__(self, *unused: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _receive(self, number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if self._alone:
      self.received = signal.Signals(number).name
    else:
      os.kill(os.getpid(), signal.SIGTERM)
