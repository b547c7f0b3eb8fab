"""What follows a step without an update: go on, go back, or give up.

Counters of the train state are read, which are the same on every process, so
all of them decide alike.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from unialign_jax import checkpoint as checkpoint_lib
from unialign_jax import config as config_lib
from unialign_jax.training import incidents as incidents_lib
from unialign_jax.training import rewinds as rewinds_lib


class BadStepsError(RuntimeError):
  """Training does not get on, and another start would not change that."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spike:
  """A spike after which the run is to go back.

  Attributes:
    step: that spiked.
    next_index: the global batch to go on with.
  """

  step: int
  next_index: int


class Guard:
  """Reads every step once, in order.

  Attributes:
    in_a_row: how many of the latest steps had no update.
    spike: set when the run is to go back; None once that was done.
  """

  def __init__(
    self,
    train: config_lib.TrainConfig,
    workdir: pathlib.Path,
    checkpoints: checkpoint_lib.Checkpoints,
    *,
    active: bool,
    tell: Callable[[str], None],
  ):
    """Has read nothing yet; see `begin`.

    Args:
      train: of the run.
      workdir: of the run.
      checkpoints: of the workdir.
      active: whether this process writes.
      tell: shows a line to the user.
    """
    self._train = train
    self._workdir = workdir
    self._checkpoints = checkpoints
    self._tell = tell
    self._incidents = incidents_lib.Incidents(workdir, active=active)
    self._rewinds = rewinds_lib.Rewinds(workdir, active=active)

  def begin(self, *, step: int, skipped: int, spikes: int, index: int) -> int:
    """Goes on from a state that was made or restored.

    Args:
      step: of the state.
      skipped: its counter of non-finite steps.
      spikes: its counter of spikes.
      index: the global batch that belongs to it.

    Returns:
      The global batch to go on with. Every process has to ask.
    """
    self._incidents.begin(skipped=skipped, spikes=spikes)
    self.in_a_row = 0
    self.spike: Spike | None = None
    return self._rewinds.next_index(step, index)

  def read(
    self, step: int, values: dict[str, float], origin: incidents_lib.Origin
  ) -> None:
    """Looks at the metrics of a step.

    Raises:
      BadStepsError: too many such steps in a row, or too many rewinds.
    """
    kind = self._incidents.read(step, values, origin)
    if kind is None:
      self.in_a_row = 0
      return
    self.in_a_row += 1
    self._tell(
      f"Step {step}: {kind}, loss {values['loss/total']:.4g}, gradient norm"
      f" {values['grad_norm']:.4g}; no update. See {self._incidents.path}."
    )
    if self.in_a_row >= self._train.max_bad_steps:
      raise BadStepsError(
        f"{self.in_a_row} steps in a row without an update, the last one"
        f" step {step}; expected fewer than config.train.max_bad_steps ="
        f" {self._train.max_bad_steps}. {self._advice()}"
      )
    if kind == "spike" and self._train.on_spike == "rewind":
      self._ask_back(step, origin)

  def went_back(self, spike: Spike, checkpoint: int) -> None:
    """Remembers that the state of this checkpoint was restored."""
    self._incidents.write(
      spike.step, "rewind", checkpoint=checkpoint, next_batch=spike.next_index
    )
    self._rewinds.add(
      step=spike.step, checkpoint=checkpoint, index=spike.next_index
    )
    self._tell(f"Back to the checkpoint of step {checkpoint}.")

  def _ask_back(self, step: int, origin: incidents_lib.Origin) -> None:
    checkpoint = self._checkpoints.latest_step
    if checkpoint is None:
      self._tell("There is no checkpoint to go back to: going on.")
      return
    count = self._rewinds.count(checkpoint)
    if count >= self._train.max_rewinds:
      raise BadStepsError(
        f"a spike at step {step} after {count} rewinds to the checkpoint of"
        f" step {checkpoint}; expected at most config.train.max_rewinds ="
        f" {self._train.max_rewinds}. {self._advice()}"
      )
    self.spike = Spike(step=step, next_index=origin.index + 1)

  def _advice(self) -> str:
    latest = self._checkpoints.latest_step
    good = "There is no checkpoint"
    if latest is not None:
      folder = checkpoint_lib.FOLDER
      path = self._workdir / folder / f"step_{latest:08d}"
      good = f"The last good checkpoint is {path}"
    return (
      f"{good}; losses and records are in {self._incidents.path}. Look at"
      " those records, lower config.optimizer.learning_rate, or begin another"
      " workdir with config.train.init_from."
    )
