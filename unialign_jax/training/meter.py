"""Metrics of steps: read one step late, and averaged between lines."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator

import jax
import numpy as np

from unialign_jax.features import manifest
from unialign_jax.training import averages
from unialign_jax.training import flops
from unialign_jax.training import guard as guard_lib
from unialign_jax.training import incidents
from unialign_jax.training import logger as logger_lib
from unialign_jax.training import setup
from unialign_jax.training import starts
from unialign_jax.training import watchdog as watchdog_lib


@dataclasses.dataclass
class _Pending:
  """A step whose metrics are still on the device."""

  step: int
  metrics: dict[str, jax.Array]
  task: str
  origin: incidents.Origin
  flops: float
  waited: float  # seconds until its batch was there


class Meter:
  """Reads metrics one step behind the device, and averages between lines."""

  def __init__(
    self,
    parts: setup.Run,
    log: logger_lib.Logger,
    start: starts.Start,
    watchdog: watchdog_lib.Watchdog,
    guard: guard_lib.Guard,
  ) -> None:
    self._parts = parts
    self._log = log
    self._start = start
    self._watchdog = watchdog
    self._guard = guard
    self._last_redone = start.earlier.last_step
    self._shapes: set[tuple] = set()  # of batches whose step is compiled
    self._has_compiled = False  # since the last reading
    self._peak = flops.peak(list(parts.program.mesh.devices.flat))
    self._pending: _Pending | None = None
    self._averages = averages.Averages()
    self._clock: float | None = None

  @property
  def category(self) -> str:
    """Of the time of the step under way: was it taken before?"""
    step = self._pending.step if self._pending else self._start.step + 1
    return "redone" if step <= self._last_redone else "step"

  def is_busy(self) -> bool:
    """Whether the devices still have work."""
    if self._pending is None:
      return False
    return any(
      isinstance(x, jax.Array) and not x.is_ready()
      for x in self._pending.metrics.values()
    )

  @contextlib.contextmanager
  def dispatch(self, batch: dict[str, np.ndarray]) -> Iterator[None]:
    """Around a call of the train step; its first ones compile."""
    shapes = tuple(sorted((name, x.shape) for name, x in batch.items()))
    if shapes in self._shapes:
      yield
      return
    self._shapes.add(shapes)
    self._has_compiled = True
    with self._watchdog.paused():
      yield

  def add(
    self,
    step: int,
    metrics: dict[str, jax.Array],
    layout: manifest.Layout,
    origin: incidents.Origin,
    waited: float,
  ) -> None:
    """Takes a step just dispatched; reads the one before."""
    data, model = self._parts.config.data, self._parts.config.model
    work = flops.train_step(
      model,
      batch_size=data.batch_size,
      target_tokens=(data.latent_side // model.patch_size) ** 2,
      num_cond=layout.num_cond,
      text_tokens=data.text_length,
    )
    self.flush()
    self._pending = _Pending(step, metrics, layout.task, origin, work, waited)

  def restart(self) -> None:
    """The time since the last step was not a step's."""
    self.flush()
    self._clock = time.perf_counter()

  def drop(self, step: int) -> None:
    """Forgets what was taken since a checkpoint, until a step."""
    self._pending = self._clock = None
    self._averages.clear()
    self._last_redone = max(self._last_redone, step)

  def flush(self) -> None:
    """Waits for the pending step, averages it in, logs when it is time.

    Raises:
      BadStepsError: the step was one too many without an update.
    """
    if self._pending is None:
      return
    with self._start.clock.phase(self.category):
      values = jax.device_get(self._pending.metrics)
    done, self._pending = self._pending, None
    values = {k: float(v) for k, v in values.items()}
    now = time.perf_counter()
    seconds = None
    if self._clock is not None:  # the first step's time is compilation
      seconds = now - self._clock
      self._averages.add_time(
        seconds=seconds, flops=done.flops, waited=done.waited
      )
    self._clock = now
    self._watchdog.step_ended(None if self._has_compiled else seconds)
    self._has_compiled = False
    self._guard.read(done.step, values, done.origin)
    by_task = {
      f"{name}/{done.task}": values[name] for name in ("loss/flow", "loss/text")
    }
    self._averages.add(values | by_task)
    train = self._parts.config.train
    if done.step % train.log_every == 0 or done.step == train.steps:
      self._write(done.step, values)

  def _write(self, step: int, latest: dict[str, float]) -> None:
    speed = self._averages.speed(
      batch_size=self._parts.config.data.batch_size, peak=self._peak
    )
    means = self._averages.means() | speed
    # Counters and settings are read, not averaged.
    means |= {k: latest[k] for k in ("skipped", "spikes", "learning_rate")}
    # Of process 0, as it alone writes; the others have files of their own.
    means["damaged_records"] = self._parts.batches.num_damaged
    means |= self._start.values()
    self._log.scalars(step, means)
    loss = means.get("loss/total", math.nan)
    self._log.progress(step, loss, speed.get("seconds_per_step"))
    self._averages.clear()
