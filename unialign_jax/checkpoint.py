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
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from unialign_jax import config as config_lib
from unialign_jax.training import state as state_lib

FOLDER = "checkpoints"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.json"  # of weights that no run here has trained
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
    if (workdir / WEIGHTS_FILE).exists():
      raise ValueError(
        f"--workdir {workdir} holds imported weights, not a run; use another"
        f" --workdir and --config.train.init_from={workdir}."
      )
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
  if path.exists() and (changed := _changes(config, _read_config(path))):
    raise ValueError(
      f"--workdir {path.parent} holds a run of another model:\n  "
      + "\n  ".join(changed)
      + "\nUse another --workdir, or the config that the run was begun with."
    )


def _read_config(path: pathlib.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path}: got no readable JSON ({error}), expected the config of the run"
      " in this folder; restore the file, or use another folder."
    ) from error


def _changes(config: dict[str, Any], saved: dict[str, Any]) -> list[str]:
  """Keys of the network in which a run differs from a saved one."""
  old = saved["model"]
  return [
    f"config.model.{key}: got {value!r}, the run has {old.get(key)!r}"
    for key, value in config["model"].items()
    if key not in _FREE and old.get(key) != value
  ]


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
  path = _step_folder(workdir, step)
  name = "ema" if ema else "params"
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(path / "state").item_metadata.tree
  abstract = jax.tree.map(
    lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device),
    tree[name],
  )
  restored = _restore_part(path, {name: abstract})
  saved = _read_config(workdir / CONFIG_FILE)
  return config_lib.from_saved(saved), restored[name]


def write_weights(
  workdir: str | os.PathLike,
  config: config_lib.Config,
  params: Any,
  origin: Mapping[str, Any],
) -> None:
  """Writes weights from elsewhere where `load_params` and `init_from` look.

  Args:
    workdir: an empty or new folder.
    config: whose model the weights are of.
    params: host or device arrays; their moving average begins with them.
    origin: what they are and where from, for `weights.json`.

  Raises:
    ValueError: the folder is in use.
  """
  workdir = pathlib.Path(workdir).absolute()
  if workdir.exists() and any(workdir.iterdir()):
    raise ValueError(f"{workdir}: got a folder in use, expected an empty one.")
  workdir.mkdir(parents=True, exist_ok=True)
  name = ocp.path.step.standard_name_format(
    step_prefix="step", step_format_fixed_length=8
  ).build_name(0)
  params = jax.tree.map(np.asarray, params)
  with _frugal_writer() as writer:
    writer.save(
      workdir / FOLDER / name / "state",
      args=ocp.args.PyTreeSave({"params": params, "ema": params}),
    )
  (workdir / CONFIG_FILE).write_text(config_lib.dumps(config))
  (workdir / WEIGHTS_FILE).write_text(json.dumps(origin, indent=2) + "\n")


class _OneByOne(ocp.type_handlers.NumpyHandler):
  """Writes arrays from where they lie, each when the one before is on disk.

  The usual one copies all of them and compresses them at once: three times
  the memory of the weights.
  """

  def __init__(self) -> None:
    super().__init__(deepcopy_host_arrays=False)

  async def serialize(self, values: Any, infos: Any, args: Any = None) -> list:
    args = args or [ocp.SaveArgs()] * len(values)
    for one in zip(values, infos, args):
      for future in await super().serialize(*([x] for x in one)):
        future.result()
    return []


def _frugal_writer() -> ocp.Checkpointer:
  registry = ocp.type_handlers.create_type_handler_registry(
    (np.ndarray, _OneByOne()),
    (jax.Array, ocp.type_handlers.ArrayHandler()),  # none; orbax asks for it
  )
  return ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(
      use_compression=False, type_handler_registry=registry
    )
  )


def check_start(workdir: str | os.PathLike, config: config_lib.Config) -> None:
  """Refuses to begin a run with weights that do not fit; see `with_weights`.

  Raises:
    ValueError: no finished checkpoint, or one of another network.
  """
  workdir = pathlib.Path(workdir).absolute()
  _step_folder(workdir, None, key="config.train.init_from: ")
  saved = _read_config(workdir / CONFIG_FILE)
  if changed := _changes(json.loads(config_lib.dumps(config)), saved):
    raise ValueError(
      f"config.train.init_from: {workdir} holds another network:\n  "
      + "\n  ".join(changed)
      + "\nGive this run the model of that one, or start from another."
    )


def with_weights(
  state: state_lib.TrainState, workdir: str | os.PathLike
) -> state_lib.TrainState:
  """A state with the trained and averaged weights of another run.

  What a later stage begins with: optimizer, counters and data order are its
  own. The weights that `state` had are deleted first, to make room.

  Args:
    state: of the new run, on its devices.
    workdir: of the other run; its latest checkpoint counts.
  """
  old = {"params": state.params, "ema": state.ema}
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), old
  )
  for leaf in jax.tree.leaves(old):
    leaf.delete()
  path = _step_folder(pathlib.Path(workdir).absolute(), None)
  return state.replace(**_restore_part(path, abstract))


def _step_folder(
  workdir: pathlib.Path, step: int | None, key: str = ""
) -> pathlib.Path:
  """The folder of a finished checkpoint, by default the latest."""
  steps = ocp.path.step.standard_name_format(
    step_prefix="step", step_format_fixed_length=8
  ).find_all(workdir / FOLDER)
  found = {metadata.step: metadata.path for metadata in steps}
  if not found or (step is not None and step not in found):
    raise ValueError(
      f"{key}{workdir}: got checkpoints {sorted(found)}, expected"
      f" {'any' if step is None else step}; train first, or correct the folder."
    )
  return found[max(found) if step is None else step]


def _restore_part(path: pathlib.Path, abstract: Any) -> Any:
  """Some fields of the state of a checkpoint, laid out as `abstract` says."""
  with ocp.PyTreeCheckpointer() as reader:
    return reader.restore(
      path / "state",
      args=ocp.args.PyTreeRestore(
        item=abstract,
        restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
        partial_restore=True,
      ),
    )
