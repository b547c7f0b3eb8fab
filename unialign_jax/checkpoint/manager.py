"""The checkpoints of a run: when they are saved, kept, read."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from unialign_jax import config as config_lib
from unialign_jax.checkpoint import agreement
from unialign_jax.checkpoint import checksums
from unialign_jax.checkpoint import continuing
from unialign_jax.checkpoint import damage
from unialign_jax.checkpoint import failure
from unialign_jax.checkpoint import folders
from unialign_jax.checkpoint import lock as lock_lib
from unialign_jax.checkpoint import trees
from unialign_jax.training import lines
from unialign_jax.training import rewinds
from unialign_jax.training import state as state_lib

_POLICIES = ocp.checkpoint_managers


class _Manager(ocp.CheckpointManager):
  """Leaves the question of preemption to `Checkpoints`.

  Where orbax 0.12.8 asks by itself, it measures the time since the checkpoint
  before; of one that a light start has listed it has a time without a zone,
  and the save, complete by then, ends in a TypeError.
  """

  def reached_preemption(self, step: int) -> bool:
    del step
    return False


class Checkpoints:
  """The checkpoints of one workdir, which no other run can open meanwhile."""

  def __init__(self, workdir: str | os.PathLike, config: config_lib.Config):
    """Opens or begins them.

    What is found damaged gets another name (`damage`), what a killed save has
    left is deleted. What the config changes in a run is told (`continuing`).

    Raises:
      ValueError: the workdir holds a run of another model, one that cannot go
        on with this config, or nothing sound, or cannot be written to.
      InUseError: another run has it.
    """
    self._workdir = pathlib.Path(workdir).absolute()
    self._asked = 0  # whether there is a preemption
    self._lock: lock_lib.Lock | None = None
    self._pending: int | None = None  # step that is saved in the background
    self._nbytes = 0  # of the arrays of a checkpoint
    self._cleaner: threading.Thread | None = None
    self._handler = checksums.SummingHandler()
    try:
      self._config = self._take(config)
      self._sound = damage.set_aside(self._workdir)
      agreement.first_acts(self._begin)
      self._manager = self._open(config.train)
    except BaseException:
      self._release()
      raise

  @property
  def latest_step(self) -> int | None:
    step = self._manager.latest_step()
    # What process 0 has listed for the others comes as an array of NumPy.
    return None if step is None else int(step)

  def save(
    self,
    step: int,
    state: state_lib.TrainState,
    data_state: dict[str, Any],
    *,
    force: bool = False,
  ) -> bool:
    """Saves after `step` steps, if a save is due or forced; does not wait.

    Raises:
      SaveError: this save, or the one before it, has failed.
    """
    self._look_back()
    if self.latest_step == step:
      return False
    tree = _tree(state)
    self._nbytes = sum(x.nbytes for x in jax.tree.leaves(tree))
    with self._explained(step):
      saved = self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(tree),
          data=ocp.args.JsonSave(data_state),
          config=ocp.args.JsonSave(self._config),
        ),
        custom_metadata=checksums.MARK,
        force=force,
      )
    self._pending = step if saved else self._pending
    return saved

  def restore(
    self, abstract: state_lib.TrainState, step: int | None = None
  ) -> tuple[state_lib.TrainState, dict[str, Any]]:
    """Reads a step (the latest) onto the devices that `abstract` names.

    Args:
      abstract: ShapeDtypeStructs with shardings, frozen inputs left out; the
        mesh may differ from the one that saved.
      step: which one.

    Returns:
      The state without its frozen inputs, and the data position.

    Raises:
      ValueError: the checkpoint holds another state, or cannot be read.
    """
    step = self.latest_step if step is None else step
    folder = folders.step_folder(self._workdir, step)
    if step != self._sound:
      damage.check(folder, shared=True)
    with damage.readable(folder):
      found = trees.saved(folder)
    if lines := trees.differences(_tree(abstract), found, dtypes=True):
      raise ValueError(
        f"--workdir {self._workdir}: the checkpoint of step {step} holds"
        " another state than this config trains:\n  "
        + "\n  ".join(lines)
        + "\nUse the config that the run was begun with; or another --workdir,"
        f" and --config.train.init_from={self._workdir} for its weights alone."
      )
    with damage.readable(folder):
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(_tree(abstract)),
          data=ocp.args.JsonRestore(),
        ),
      )
    return state_lib.TrainState(**restored.state), restored.data

  def reached_preemption(self) -> bool:
    """Whether the scheduler has asked all processes to stop after this step.

    It is asked at every step, so what has become of a save is told here too.

    JAX has them stop at the number after the largest that it has been told,
    and at no later one. So it is told how often it was asked, by each process
    alike: of the steps of a continued run, a signal that came before the first
    would mean step 1, which is long past; a rewind, one that comes again.

    Raises:
      SaveError: a save in the background has failed.
    """
    self._look_back()
    self._asked += 1
    return ocp.multihost.reached_preemption(self._asked)

  def wait(self) -> None:
    """Waits for the save under way.

    Raises:
      SaveError: it has failed.
    """
    with self._explained(self._pending):
      self._manager.wait_until_finished()
    self._pending = None
    self._empty_trash()

  def close(self) -> None:
    """Waits for the save under way, and gives the workdir back.

    Raises:
      SaveError: it has failed.
    """
    try:
      self.wait()
    finally:
      try:
        self._manager.close()
      finally:
        self._release()

  def _take(self, config: config_lib.Config) -> dict[str, Any]:
    """Makes the workdir this run's; its config, as it is to be written."""

    def take() -> None:
      folders.make_workdir(self._workdir)
      self._lock = lock_lib.Lock(self._workdir)
      folders.check(self._workdir, plain)
      folders.clean(self._workdir)

    plain = json.loads(config_lib.dumps(config))
    agreement.first_acts(take)
    return plain

  def _begin(self) -> None:
    """Writes the config down, where the run can go on with it."""
    if self._sound is not None:
      self._compare(folders.step_folder(self._workdir, self._sound))
    folders.write_config(self._workdir, self._config)

  def _compare(self, folder: pathlib.Path) -> None:
    """Refuses or tells what the config changes after a step."""
    with damage.readable(folder):
      saved = folders.read_item(folder, "config")
      examples = folders.read_item(folder, "data")["global_next_index"]
    size = saved["data"]["batch_size"]
    rewound = [
      line["next_batch"] * size
      for line in lines.read(self._workdir / rewinds.FILE)
      if line["checkpoint"] == self._sound
    ]
    examples = max([examples, *rewound])
    changed = continuing.changes(self._config, saved)
    refused = continuing.refusals(
      changed, saved, examples, is_rewound=bool(rewound)
    )
    if refused:
      raise ValueError(
        f"--workdir {self._workdir}: after step {self._sound} records would"
        " come again, or not at all:\n"
        f"{refused}\nUse what the run has; or another --workdir, and"
        f" --config.train.init_from={self._workdir} for its weights alone."
      )
    for change in continuing.told(changed, self._config, saved, examples):
      logging.warning(
        "--workdir %s, after step %d: %s", self._workdir, self._sound, change
      )

  def _open(self, train: config_lib.TrainConfig) -> ocp.CheckpointManager:
    kept = [_POLICIES.LatestN(train.keep_checkpoints)]
    if train.keep_every:
      kept.append(_POLICIES.EveryNSteps(train.keep_every))
    registry = ocp.DefaultCheckpointHandlerRegistry()
    for args in (ocp.args.StandardSave, ocp.args.StandardRestore):
      registry.add("state", args, self._handler)
    return _Manager(
      self._workdir / folders.FOLDER,
      options=ocp.CheckpointManagerOptions(
        save_decision_policy=_POLICIES.FixedIntervalPolicy(
          train.checkpoint_every
        ),
        preservation_policy=_POLICIES.AnyPreservationPolicy(kept),
        step_name_format=folders.SHARED_NAMES,
        single_host_load_and_broadcast=True,
        # A step is deleted in one move, so that no kill leaves a part of it.
        todelete_subdir=folders.TRASH,
        # What it would read is not covered by checksums, and not needed.
        lightweight_initialize=True,
        async_options=ocp.AsyncOptions(
          post_finalization_callback=lambda: checksums.seal(
            self._handler.folder
          )
        ),
      ),
      handler_registry=registry,
    )

  def _look_back(self) -> None:
    """Sees how the save in the background has ended, if it has."""
    if self._pending is not None and not self._manager.is_saving_in_progress():
      self.wait()

  @contextlib.contextmanager
  def _explained(self, step: int | None) -> Iterator[None]:
    """Turns an error into one that says what to do; gives room back."""
    try:
      yield
    except Exception as error:
      failed, self._pending = self._pending, None
      if failed is None or folders.step_folder(self._workdir, failed).exists():
        failed = step  # the one before is complete
      if jax.process_index() == 0 and failed is not None:
        failure.remove_part(self._workdir, failed)
      raise failure.explain(
        self._workdir, failed, self._nbytes, error
      ) from error

  @property
  def _trash(self) -> pathlib.Path:
    return self._workdir / folders.FOLDER / folders.TRASH

  def _empty_trash(self) -> None:
    """In the background; the folder stays, since orbax moves steps there."""
    if jax.process_index() or not self._trash.is_dir():
      return
    if self._cleaner:
      self._cleaner.join()
    olds = list(self._trash.iterdir())
    self._cleaner = threading.Thread(
      target=lambda: [shutil.rmtree(old, ignore_errors=True) for old in olds],
      name="delete_old_checkpoints",
    )
    self._cleaner.start()

  def _release(self) -> None:
    if self._cleaner:
      self._cleaner.join()
    if self._lock:
      folders.clean(self._workdir)
      self._lock.release()


def _tree(state: state_lib.TrainState) -> dict[str, Any]:
  """The durable fields as a dict, which any reader of orbax understands."""
  fields = {f.name for f in dataclasses.fields(state)} - {"frozen"}
  return {name: getattr(state, name) for name in sorted(fields)}
