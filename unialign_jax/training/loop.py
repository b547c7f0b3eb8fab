"""The training loop: batches through the step, numbers and checkpoints out.

Nothing in the loop waits for the device but the metrics of the step before,
fetched while the current one runs.
"""

import dataclasses
import os
import pathlib
import signal
import time
from types import FrameType
from typing import Any

import clu.metrics
import clu.parameter_overview
import jax
import numpy as np
from PIL import Image

from unialign_jax import checkpoint as checkpoint_lib
from unialign_jax import config as config_lib
from unialign_jax.training import flops
from unialign_jax.training import logger as logger_lib
from unialign_jax.training import setup
from unialign_jax.training import state as state_lib


class _StopRequest:
  """Turns the first Ctrl-C or SIGTERM into "save and stop after this step".

  The second Ctrl-C interrupts at once. With several processes SIGTERM is left
  to JAX's preemption service, which makes all of them stop at one step.
  """

  def __init__(self) -> None:
    self.received: str | None = None
    self._before: dict[int, Any] = {}

  def __enter__(self) -> "_StopRequest":
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


def run(config: config_lib.Config, workdir: str | os.PathLike) -> int:
  """Trains to `config.train.steps`, from the latest checkpoint if there is one.

  Args:
    config: of the run.
    workdir: receives config.json, checkpoints/, metrics.jsonl, events.* and
      samples/.

  Returns:
    The number of steps taken in all; fewer than asked for after a signal.

  Raises:
    ValueError: anything that does not fit together, before compilation.
    DamagedRecordsError: too many damaged records.
  """
  parts = setup.prepare(config)
  checkpoints = checkpoint_lib.Checkpoints(workdir, config)
  try:
    state = _start(parts, checkpoints)
    with (
      _StopRequest() as stop,
      logger_lib.Logger(
        workdir,
        first_step=int(state.step),
        steps=config.train.steps,
        active=jax.process_index() == 0,
      ) as log,
    ):
      return _train(parts, state, checkpoints, stop, log, pathlib.Path(workdir))
  finally:
    checkpoints.close()
    parts.batches.close()


def _start(
  parts: setup.Run, checkpoints: checkpoint_lib.Checkpoints
) -> state_lib.TrainState:
  """The state to go on from; the pipeline is moved to where it belongs."""
  if checkpoints.latest_step is None:
    if other := parts.config.train.init_from:
      checkpoint_lib.check_start(other, parts.config)
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


def _train(
  parts: setup.Run,
  state: state_lib.TrainState,
  checkpoints: checkpoint_lib.Checkpoints,
  stop: _StopRequest,
  log: logger_lib.Logger,
  workdir: pathlib.Path,
) -> int:
  train = parts.config.train
  meter = _Meter(parts, log)
  step = int(state.step)
  while step < train.steps:
    layout = parts.batches.layout_at(step)
    asked = time.perf_counter()
    batch = next(parts.batches)
    waited = time.perf_counter() - asked
    state, metrics = parts.program.train_step(state, parts.to_devices(batch))
    step += 1
    meter.add(step, metrics, layout.task, layout.num_cond, waited)

    is_last = step == train.steps
    leave = is_last or bool(stop.received)
    leave |= checkpoints.reached_preemption(step)
    checkpoints.save(step, state, parts.batches.get_state(), force=leave)
    if parts.showcase and (is_last or step % train.sample_every == 0):
      _show(parts, state, step, log, workdir / "samples")
      meter.restart()
    if leave and not is_last:
      log.message(
        f"{stop.received or 'Preemption'}: saved after step {step}; the same"
        " command continues."
      )
      break
  meter.flush()
  return step


def _show(
  parts: setup.Run,
  state: state_lib.TrainState,
  step: int,
  log: logger_lib.Logger,
  folder: pathlib.Path,
) -> None:
  """Pictures and texts of the EMA weights, to samples/ and TensorBoard."""
  for shown in parts.showcase(state.ema):
    if jax.process_index():
      continue
    folder.mkdir(exist_ok=True)
    stem = folder / f"step_{step:08d}_{shown.name}"
    Image.fromarray(shown.picture_HWC).save(stem.with_suffix(".png"))
    stem.with_suffix(".txt").write_text("\n".join(shown.texts) + "\n")
    log.picture(step, f"samples/{shown.name}", shown.picture_HWC)
    log.text(step, f"captions/{shown.name}", "\n\n".join(shown.texts))


@dataclasses.dataclass
class _Pending:
  """A step whose metrics are still on the device."""

  step: int
  metrics: dict[str, jax.Array]
  task: str
  flops: float
  waited: float  # seconds until its batch was there


class _Meter:
  """Averages metrics between log lines, one step behind the device."""

  def __init__(self, parts: setup.Run, log: logger_lib.Logger) -> None:
    self._parts = parts
    self._log = log
    self._peak = flops.peak(list(parts.program.mesh.devices.flat))
    self._pending: _Pending | None = None
    self._averages: dict[str, clu.metrics.Average] = {}
    self._step_seconds: list[float] = []
    self._work: list[float] = []
    self._waits: list[float] = []
    self._clock: float | None = None

  def add(
    self,
    step: int,
    metrics: dict[str, jax.Array],
    task: str,
    num_cond: int,
    waited: float,
  ) -> None:
    """Takes a step just dispatched; reads the one before."""
    data, model = self._parts.config.data, self._parts.config.model
    work = flops.train_step(
      model,
      batch_size=data.batch_size,
      target_tokens=(data.latent_side // model.patch_size) ** 2,
      num_cond=num_cond,
      text_tokens=data.text_length,
    )
    self.flush()
    self._pending = _Pending(step, metrics, task, work, waited)

  def restart(self) -> None:
    """The time since the last step was not a step's."""
    self.flush()
    self._clock = time.perf_counter()

  def flush(self) -> None:
    """Waits for the pending step, averages it in, logs when it is time."""
    if self._pending is None:
      return
    done, self._pending = self._pending, None
    values = {k: float(v) for k, v in jax.device_get(done.metrics).items()}
    now = time.perf_counter()
    if self._clock is not None:  # the first step's time is compilation
      self._step_seconds.append(now - self._clock)
      self._work.append(done.flops)
      self._waits.append(done.waited)
    self._clock = now
    named = values | {
      f"{name}/{done.task}": values[name] for name in ("loss/flow", "loss/text")
    }
    for name, value in named.items():
      average = clu.metrics.Average.from_model_output(np.float32(value))
      before = self._averages.get(name)
      self._averages[name] = before.merge(average) if before else average
    train = self._parts.config.train
    if done.step % train.log_every == 0 or done.step == train.steps:
      self._write(done.step, values)

  def _write(self, step: int, latest: dict[str, float]) -> None:
    # clu divides a float by an integer count.
    with jax.numpy_dtype_promotion("standard"):
      means = {name: float(a.compute()) for name, a in self._averages.items()}
    # Counters and settings are read, not averaged.
    means |= {k: latest[k] for k in ("skipped", "learning_rate")}
    means["damaged_records"] = self._parts.batches.num_damaged
    seconds = None  # of the first step nothing is known but compilation
    if total := sum(self._step_seconds):
      seconds = float(np.median(self._step_seconds))
      means["seconds_per_step"] = seconds
      batch = self._parts.config.data.batch_size
      means["examples_per_second"] = batch / seconds
      # At most this share of the time a device had nothing to do: it may
      # still have been busy with the step before.
      means["data_wait"] = sum(self._waits) / total
      if self._peak:
        means["mfu"] = sum(self._work) / total / self._peak
    self._log.scalars(step, means)
    self._log.progress(step, means["loss/total"], seconds)
    self._averages, self._waits = {}, []
    self._step_seconds, self._work = [], []
