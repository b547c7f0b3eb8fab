"""The training loop: batches through the step, numbers and checkpoints out.

Nothing in the loop waits for the device but the metrics of the step before,
fetched while the current one runs; and, where a checkpoint is due, those of
the step itself: what is saved has been looked at.
"""

import contextlib
import os
import pathlib
import time

import clu.parameter_overview
import jax

from unialign_jax import checkpoint as checkpoint_lib
from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.training import guard as guard_lib
from unialign_jax.training import incidents
from unialign_jax.training import logger as logger_lib
from unialign_jax.training import meter as meter_lib
from unialign_jax.training import records as records_lib
from unialign_jax.training import rewinds
from unialign_jax.training import setup
from unialign_jax.training import starts
from unialign_jax.training import state as state_lib
from unialign_jax.training import stopping
from unialign_jax.training import watchdog as watchdog_lib


def run(
  config: config_lib.Config, workdir: str | os.PathLike, *, age: float = 0.0
) -> int:
  """Trains to `config.train.steps`, from the latest checkpoint if there is one.

  Args:
    config: of the run.
    workdir: receives config.json, checkpoints/, metrics.jsonl, goodput.jsonl,
      events.*, samples/ and, where there is cause, incidents.jsonl,
      rewinds.jsonl, damaged.jsonl and stacks.txt.
    age: seconds since the process was started, where they are the run's.

  Returns:
    The number of steps taken in all; fewer than asked for after a signal.

  Raises:
    ValueError: anything that does not fit together, before compilation.
    DamagedRecordsError: too many damaged records.
    BadStepsError: too many steps in a row without an update, or rewinds.
  """
  workdir = pathlib.Path(workdir)
  process = jax.process_index()
  with contextlib.ExitStack() as stack:
    watchdog = stack.enter_context(
      watchdog_lib.Watchdog(
        factor=config.train.watchdog_factor,
        seconds=config.train.watchdog_seconds,
      )
    )
    with watchdog.paused():
      start = starts.Start(workdir, age=age, active=process == 0)
      stack.enter_context(start.clock)
      parts = setup.prepare(config)
      stack.callback(parts.batches.close)
      checkpoints = checkpoint_lib.Checkpoints(workdir, config)
      stack.enter_context(start)
      # Left after the checkpoints are closed: a second SIGTERM must not end the
      # save that the first has asked for.
      stop = stack.enter_context(stopping.StopRequest())
      stack.callback(_close, checkpoints, start, watchdog)
      watchdog.write_to(workdir / watchdog_lib.file_name(process))
      parts.batches.keep_damage(workdir / damage.file_name(process))
      state = _start(parts, checkpoints)
      log = stack.enter_context(
        logger_lib.Logger(
          workdir,
          first_step=int(state.step),
          steps=config.train.steps,
          active=process == 0,
        )
      )
      guard = guard_lib.Guard(
        config.train,
        workdir,
        checkpoints,
        active=process == 0,
        tell=log.message,
      )
      path = workdir / records_lib.file_name(process)
      records = stack.enter_context(
        records_lib.RecordLog(
          path if config.train.log_records else None, start.number
        )
      )
      training = _Training(
        parts, checkpoints, start, stop, log, records, watchdog, guard
      )
    return training.run(state)


def _start(
  parts: setup.Run, checkpoints: checkpoint_lib.Checkpoints
) -> state_lib.TrainState:
  """The state to go on from; the pipeline is moved to where it belongs."""
  if checkpoints.latest_step is None:
    if other := parts.config.train.init_from:
      checkpoint_lib.check_start(
        other, parts.config, parts.program.abstract_state
      )
    state = parts.program.init()
    if other:
      state = checkpoint_lib.with_weights(state, other)
    if jax.process_index() == 0:
      if other:
        print(f"Weights and their average begin with those of {other}.")
      print(
        clu.parameter_overview.get_parameter_overview(
          state.params, include_stats=False
        )
      )
  else:
    state, position = checkpoints.restore(parts.program.abstract_state)
    parts.batches.set_state(position)
    if jax.process_index() == 0:
      print(f"Continuing after step {checkpoints.latest_step}.")
  return state.replace(frozen=parts.frozen)


def _close(
  checkpoints: checkpoint_lib.Checkpoints,
  start: starts.Start,
  watchdog: watchdog_lib.Watchdog,
) -> None:
  with start.clock.phase("checkpoint"), watchdog.paused():
    checkpoints.close()


class _Training:
  """The loop: takes steps, saves, shows, and goes back after a spike."""

  def __init__(
    self,
    parts: setup.Run,
    checkpoints: checkpoint_lib.Checkpoints,
    start: starts.Start,
    stop: stopping.StopRequest,
    log: logger_lib.Logger,
    records: records_lib.RecordLog,
    watchdog: watchdog_lib.Watchdog,
    guard: guard_lib.Guard,
  ):
    self._parts = parts
    self._records = records
    self._checkpoints = checkpoints
    self._start, self._clock = start, start.clock
    self._stop = stop
    self._log = log
    self._watchdog = watchdog
    self._guard = guard
    self._meter = meter_lib.Meter(parts, log, start, watchdog, guard)
    self._is_due = False  # a checkpoint, now or since bad steps put it off

  def run(self, state: state_lib.TrainState) -> int:
    """Trains from a state to the end, or to a signal; how many steps.

    Raises:
      BadStepsError: see `run` of the module.
    """
    train = self._parts.config.train
    self._begin(state)
    self._clock.started()
    if self._stop.received and self._step < train.steps:
      return self._leave("nothing new to save")
    while self._step < train.steps:
      self._take_step()
      is_last = self._step == train.steps
      leave = is_last or bool(self._stop.received)
      leave |= self._checkpoints.reached_preemption()
      self._is_due |= self._step % train.checkpoint_every == 0
      shows = self._parts.showcase is not None and (
        is_last or self._step % train.sample_every == 0
      )
      if (leave or self._is_due or shows) and not self._guard.spike:
        self._meter.flush()
      if self._guard.spike:
        self._go_back()
        continue
      self._save(leave)
      if shows:
        self._show()
      if leave and not is_last:
        return self._leave("saved")
    self._start.reason = "finished"
    return self._step

  def _leave(self, what: str) -> int:
    """Tells that a signal has ended the run here; how many steps."""
    self._start.reason = self._stop.received or "Preemption"
    self._log.message(
      f"{self._start.reason}: {what} after step {self._step}; the same command"
      " continues."
    )
    return self._step

  def _begin(self, state: state_lib.TrainState) -> None:
    """Goes on from a state; the pipeline is where its checkpoint says."""
    self._state = state
    self._step = self._start.step = int(state.step)
    index = self._parts.batches.next_index
    later = self._guard.begin(
      step=self._step,
      skipped=int(state.skipped),
      spikes=int(state.spikes.count),
      index=index,
    )
    if later != index:
      self._parts.batches.skip_to(later)
      self._log.message(
        f"After step {self._step} comes batch {later}, in place of {index}:"
        f" {rewinds.FILE}."
      )

  def _take_step(self) -> None:
    batches = self._parts.batches
    index = batches.next_index
    layout = batches.layout_at(index)
    asked = time.perf_counter()
    with self._clock.phase("data"):
      batch = next(batches)
    waited = time.perf_counter() - asked
    if self._meter.is_busy():
      # The devices still had the step before: nothing was lost.
      self._clock.move(self._clock.latest, "data", self._meter.category)
    origin = incidents.Origin(
      index=index,
      source=self._parts.config.data.sources[batch["source_id"][0]][0],
      record_ids=batch["record_id"],
    )
    with self._clock.phase(self._meter.category), self._meter.dispatch(batch):
      self._state, metrics = self._parts.program.train_step(
        self._state, self._parts.to_devices(batch)
      )
    self._step += 1
    self._start.step = self._step
    self._records.add(self._step, origin)
    self._meter.add(self._step, metrics, layout, origin, waited)

  def _save(self, leave: bool) -> None:
    """Saves where it is due; with bad steps behind it, not before a good one.

    On the way out it saves in any case: no update has come of the bad steps.
    """
    if not leave and (not self._is_due or self._guard.in_a_row):
      return
    with self._clock.phase("checkpoint"), self._watchdog.paused():
      self._checkpoints.save(
        self._step, self._state, self._parts.batches.get_state(), force=True
      )
    self._is_due = False

  def _go_back(self) -> None:
    """Restores the last checkpoint, and leaves the data until a spike out."""
    spike = self._guard.spike
    self._meter.drop(spike.step)
    with self._clock.phase("checkpoint"), self._watchdog.paused():
      self._checkpoints.wait()
      for leaf in jax.tree.leaves(self._state.durable()):
        leaf.delete()  # to make room
      state, position = self._checkpoints.restore(
        self._parts.program.abstract_state
      )
    self._guard.went_back(spike, int(state.step))
    self._parts.batches.set_state(position)
    self._is_due = False
    # Not the parts': those were donated with the state of the first step.
    self._begin(state.replace(frozen=self._state.frozen))

  def _show(self) -> None:
    """Pictures and texts of the EMA weights."""
    with self._clock.phase("evaluation"), self._watchdog.paused():
      for shown in self._parts.showcase(self._state.ema):
        self._log.sample(self._step, shown)
    self._meter.restart()
