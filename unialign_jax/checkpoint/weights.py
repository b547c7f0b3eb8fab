"""Weights of a run, read to be used or to begin another run; and written."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from unialign_jax import config as config_lib
from unialign_jax.checkpoint import checksums
from unialign_jax.checkpoint import damage
from unialign_jax.checkpoint import folders
from unialign_jax.checkpoint import trees
from unialign_jax.training import state as state_lib

_KEY = "config.train.init_from: "


def load_params(
  workdir: str | os.PathLike, *, step: int | None = None, ema: bool = True
) -> tuple[config_lib.Config, Any]:
  """Config and parameters of a run, on the default device.

  Args:
    workdir: of the run.
    step: which checkpoint; the latest by default.
    ema: the averaged weights (for sampling) or the trained ones.

  Raises:
    ValueError: the folder holds no finished checkpoint, or a damaged one.
  """
  workdir = pathlib.Path(workdir).absolute()
  path = folders.find_step(workdir, step)
  saved = folders.read_config(workdir)
  damage.check(path)
  name = "ema" if ema else "params"
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with damage.readable(path):
    abstract = jax.tree.map(
      lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device),
      trees.saved(path)[name],
    )
    restored = _restore_part(path, {name: abstract})
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
  folder = folders.step_folder(workdir, 0)
  params = jax.tree.map(np.asarray, params)
  with _frugal_writer() as writer:
    writer.save(
      folder / "state",
      args=ocp.args.PyTreeSave({"params": params, "ema": params}),
    )
  checksums.seal(folder)
  (workdir / folders.CONFIG_FILE).write_text(config_lib.dumps(config))
  (workdir / folders.WEIGHTS_FILE).write_text(
    json.dumps(origin, indent=2) + "\n"
  )


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


def check_start(
  workdir: str | os.PathLike,
  config: config_lib.Config,
  abstract: state_lib.TrainState | None = None,
) -> None:
  """Refuses to begin a run with weights that do not fit; see `with_weights`.

  All processes look together, each at its share of the files.

  Args:
    workdir: of the other run.
    config: of the new one.
    abstract: shapes of its state, where they are known.

  Raises:
    ValueError: no finished checkpoint, a damaged one, or one of another
      network.
  """
  workdir = pathlib.Path(workdir).absolute()
  folder = folders.find_step(workdir, None, key=_KEY)
  saved = folders.read_config(workdir)
  lines = folders.changes(json.loads(config_lib.dumps(config)), saved)
  if not lines:
    damage.check(folder, key=_KEY, shared=True)
  if not lines and abstract is not None:
    wanted = {"params": abstract.params, "ema": abstract.ema}
    with damage.readable(folder):
      found = {name: trees.saved(folder)[name] for name in wanted}
    # Weights of another dtype are cast.
    lines = trees.differences(wanted, found, dtypes=False)
  if lines:
    raise ValueError(
      f"{_KEY}{workdir} holds another network:\n  "
      + "\n  ".join(lines)
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
    workdir: of the other run; its latest checkpoint counts, which
      `check_start` has found sound.
  """
  old = {"params": state.params, "ema": state.ema}
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), old
  )
  for leaf in jax.tree.leaves(old):
    leaf.delete()
  path = folders.find_step(pathlib.Path(workdir).absolute(), None)
  with damage.readable(path):
    return state.replace(**_restore_part(path, abstract))


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
