"""Orbax checkpoints: state, data position and config, saved in the background.

One step folder holds `state` (parameters, EMA, optimizer, counters), `data`
(the position of the pipeline, one number) and `config`. A save is written
under a temporary name and renamed when complete, so a killed save leaves the
step before it as the latest.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from unialign_jax import config as config_lib
from unialign_jax.training import state as state_lib

FOLDER = "checkpoints"
CONFIG_FILE = "config.json"
# Keys of config.model that change how the network is computed, not what it is.
_FREE = ("scan_layers", "remat", "attention", "dtype")
_POLICIES = ocp.checkpoint_managers


class Checkpoints:
  """The checkpoints of one workdir."""

  def __init__(self, workdir: str | os.PathLike, config: config_lib.Config):
    """Opens or begins them.

    Raises:
      ValueError: the workdir holds a run of another model.
    """
    self._config = json.loads(config_lib.dumps(config))
    workdir = pathlib.Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    _check_same_model(workdir / CONFIG_FILE, self._config)
    if jax.process_index() == 0:
      (workdir / CONFIG_FILE).write_text(config_lib.dumps(config))
    train = config.train
    self._manager = ocp.CheckpointManager(
      workdir / FOLDER,
      options=ocp.CheckpointManagerOptions(
        save_decision_policy=_POLICIES.AnySavePolicy(
          [
            _POLICIES.FixedIntervalPolicy(train.checkpoint_every),
            _POLICIES.PreemptionCheckpointingPolicy(),
          ]
        ),
        preservation_policy=_POLICIES.LatestN(train.keep_checkpoints),
        step_name_format=ocp.path.step.standard_name_format(
          step_prefix="step", step_format_fixed_length=8
        ),
        cleanup_tmp_directories=True,
      ),
    )

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    state: state_lib.TrainState,
    data_state: dict[str, int],
    *,
    force: bool = False,
  ) -> bool:
    """Saves after `step` steps, if a save is due or forced; does not wait."""
    if self.latest_step == step:
      return False
    return self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(_tree(state)),
        data=ocp.args.JsonSave(data_state),
        config=ocp.args.JsonSave(self._config),
      ),
      force=force,
    )

  def restore(
    self, abstract: state_lib.TrainState, step: int | None = None
  ) -> tuple[state_lib.TrainState, dict[str, int]]:
    """Reads a step (the latest) onto the devices that `abstract` names.

    Args:
      abstract: ShapeDtypeStructs with shardings, frozen inputs left out; the
        mesh may differ from the one that saved.
      step: which one.

    Returns:
      The state without its frozen inputs, and the data position.
    """
    step = self.latest_step if step is None else step
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(_tree(abstract)),
        data=ocp.args.JsonRestore(),
      ),
    )
    return state_lib.TrainState(**restored.state), restored.data

  def reached_preemption(self, step: int) -> bool:
    """Whether the scheduler has asked all processes to stop at this step."""
    return self._manager.reached_preemption(step)

  def close(self) -> None:
    """Waits for the save under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def _tree(state: state_lib.TrainState) -> dict[str, Any]:
  """The durable fields as a dict, which any reader of orbax understands."""
  fields = {f.name for f in dataclasses.fields(state)} - {"frozen"}
  return {name: getattr(state, name) for name in sorted(fields)}


def _check_same_model(path: pathlib.Path, config: dict[str, Any]) -> None:
  """A workdir is one run: its network and optimizer state cannot change."""
  if not path.exists():
    return
  try:
    before = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(
      f"{path}: got no readable JSON ({error}), expected the config of the run"
      " in this folder; restore the file, or use another --workdir."
    ) from error
  old = before["model"]
  changed = [
    f"config.model.{key}: got {value!r}, the run has {old.get(key)!r}"
    for key, value in config["model"].items()
    if key not in _FREE and old.get(key) != value
  ]
  if changed:
    raise ValueError(
      f"--workdir {path.parent} holds a run of another model:\n  "
      + "\n  ".join(changed)
      + "\nUse another --workdir, or the config that the run was begun with."
    )


def load_params(
  workdir: str | os.PathLike, *, step: int | None = None, ema: bool = True
) -> tuple[config_lib.Config, Any]:
  """Config and parameters of a run, on the default device.

  Args:
    workdir: of the run.
    step: which checkpoint; the latest by default.
    ema: the averaged weights (for sampling) or the trained ones.

  Raises:
    ValueError: the folder holds no finished checkpoint.
  """
  workdir = pathlib.Path(workdir).absolute()
  steps = ocp.path.step.standard_name_format(
    step_prefix="step", step_format_fixed_length=8
  ).find_all(workdir / FOLDER)
  found = {metadata.step: metadata.path for metadata in steps}
  if not found or (step is not None and step not in found):
    raise ValueError(
      f"{workdir}: got checkpoints {sorted(found)}, expected"
      f" {'any' if step is None else step}; train first, or correct the folder."
    )
  path = found[max(found) if step is None else step]
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(path / "state").item_metadata.tree
    wanted = {"ema" if ema else "params": None}
    name = next(iter(wanted))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    item = {
      name: jax.tree.map(
        lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device),
        tree[name],
      )
    }
    restored = reader.restore(
      path / "state",
      args=ocp.args.PyTreeRestore(
        item=item,
        restore_args=ocp.checkpoint_utils.construct_restore_args(item),
        partial_restore=True,
      ),
    )
  saved = json.loads((workdir / CONFIG_FILE).read_text())
  return config_lib.from_dict(saved), restored[name]
