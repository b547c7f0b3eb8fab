"""Signals that ask a run to save and stop."""

import signal
from types import FrameType
from typing import Any

import jax


class StopRequest:
  """Turns the first Ctrl-C or SIGTERM into "save and stop after this step".

  The second Ctrl-C interrupts at once. With several processes SIGTERM is left
  to JAX's preemption service, which makes all of them stop at one step.
  """

  def __init__(self) -> None:
    self.received: str | None = None
    self._before: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    alone = jax.process_count() == 1
    for number in (signal.SIGINT, *((signal.SIGTERM,) if alone else ())):
      self._before[number] = signal.signal(number, self._receive)
    return self

  def __exit__(self, *unused: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _receive(self, number: int, frame: FrameType | None) -> None:
    del frame
    self.received = signal.Signals(number).name
    signal.signal(signal.SIGINT, signal.default_int_handler)
