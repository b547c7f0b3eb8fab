"""Where the time of a run goes: every second of it has one category.

The clock of a process starts when the kernel started the process, and is
always in one phase; what JAX tells of tracing and compiling is taken out of
the phase it happened in. So the categories add up to the wall time.

It is the main thread's time. Devices work on while it does something else:
waiting for data counts as `data` only if the devices had run dry meanwhile.
"""

import collections
import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping

import jax

_IMPORTED = time.monotonic()

# Of one process, then of the run: in this order in tables and pictures.
CATEGORIES = (
  "step",  # a step that no earlier start had taken
  "redone",  # one that was taken before, after the checkpoint gone back to
  "compile",  # tracing, lowering, XLA or reading what it compiled before
  "data",  # waiting for a batch with nothing to do
  "checkpoint",  # what saving and restoring holds up
  "evaluation",  # sample pictures and texts
  "start",  # interpreter, imports, opening data and encoders, first state
  "other",
  "down",  # no process ran, or none of which there is a record
)
_COMPILE_EVENTS = "/jax/core/compile/"
_BACKEND_EVENT = f"{_COMPILE_EVENTS}backend_compile_duration"
_LOADED_EVENT = "/jax/compilation_cache/cache_hits"


def process_age() -> float:
  """Seconds since this process was started.

  By the kernel's word on Linux, exact to a clock tick (0.01 s). Elsewhere
  since this module was imported: then the start of the interpreter is missing.
  """
  try:
    stat = pathlib.Path("/proc/self/stat").read_text()
    # The name, in brackets, may hold anything; starttime is field 22.
    ticks = int(stat.rpartition(")")[2].split()[19])
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = now - ticks / os.sysconf("SC_CLK_TCK")
  except (OSError, AttributeError, IndexError, ValueError):
    age = 0.0
  return max(age, time.monotonic() - _IMPORTED)


class Clock:
  """Attributes the seconds of the thread that made it.

  Use it as a context manager: in between it listens to JAX.

  Attributes:
    compiled: programs that XLA has compiled for this process, by name.
    loaded: how many came from the persistent cache instead.
    latest: seconds that the phase which ended last was charged.
  """

  def __init__(
    self, *, age: float = 0.0, earlier: Mapping[str, float] | None = None
  ):
    """Starts in the phase `start`.

    Args:
      age: seconds that have passed in this phase already.
      earlier: seconds by category that go before, of the run's other starts.
    """
    self.compiled: collections.Counter[str] = collections.Counter()
    self.loaded, self.latest = 0, 0.0
    # JAX tells of what it finds while it "compiles", in the same thread.
    self._found = threading.local()
    self._seconds = dict.fromkeys(CATEGORIES, 0.0) | dict(earlier or {})
    self._phases = ["start"]
    self._since = time.monotonic() - age
    self._thread = threading.get_ident()
    # Disjoint spans, (begin, end), of what JAX has told of.
    self._told: list[tuple[float, float]] = []

  def __enter__(self) -> "Clock":
    jax.monitoring.register_event_listener(self._count)
    jax.monitoring.register_event_duration_secs_listener(self._hear)
    return self

  def __exit__(self, *unused: object) -> None:
    jax.monitoring.unregister_event_listener(self._count)
    jax.monitoring.unregister_event_duration_listener(self._hear)

  def started(self) -> None:
    """From here on what is in no phase is `other`."""
    self._charge()
    self._phases[0] = "other"

  @contextlib.contextmanager
  def phase(self, category: str) -> Iterator[None]:
    """What happens inside belongs to a category; the innermost counts."""
    self._charge()
    before = self._seconds[category]
    self._phases.append(category)
    self._told.clear()
    try:
      yield
    finally:
      self._charge()
      self._phases.pop()
      self._told.clear()
      self.latest = self._seconds[category] - before

  def move(self, seconds: float, source: str, target: str) -> None:
    """Gives seconds that were just charged to another category."""
    self._charge()
    self._seconds[source] -= seconds
    self._seconds[target] += seconds

  def seconds(self) -> dict[str, float]:
    """By category, until now."""
    self._charge()
    return dict(self._seconds)

  def _charge(self) -> None:
    now = time.monotonic()
    self._seconds[self._phases[-1]] += now - self._since
    self._since = now

  def _count(self, event: str, **unused: object) -> None:
    if event == _LOADED_EVENT:
      self.loaded += 1
      self._found.now = True

  def _hear(
    self, event: str, duration: float, fun_name: str = "", **unused: object
  ) -> None:
    if event == _BACKEND_EVENT:
      if not getattr(self._found, "now", False):
        self.compiled[fun_name] += 1
      self._found.now = False
    if (
      not event.startswith(_COMPILE_EVENTS)
      or threading.get_ident() != self._thread
      or self._phases[-1] == "compile"
    ):
      return
    now = time.monotonic()
    begin = now - duration
    # A function is traced while another is: the outer span, told of last,
    # holds the inner ones.
    new = duration
    while self._told and self._told[-1][0] >= begin:
      inner = self._told.pop()
      new -= inner[1] - inner[0]
    self._told.append((begin, now))
    self.move(max(new, 0.0), self._phases[-1], "compile")
