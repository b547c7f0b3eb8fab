"""Compares the state of a run with that of a checkpoint, reading no array."""

import contextlib
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath


def saved(folder: pathlib.Path) -> Any:
  """The tree of a checkpoint, with shape and dtype of each array.

  Args:
    folder: of the step.
  """
  with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
    return handler.metadata(epath.Path(folder / "state")).tree


def differences(wanted: Any, found: Any, *, dtypes: bool) -> list[str]:
  """All in which two trees differ, one line each.

  Args:
    wanted: arrays or abstract ones, as the run has them.
    found: as `saved` gives it, or the part that matters.
    dtypes: whether another dtype is a difference.
  """
  wanted, found = _described(wanted, dtypes), _described(found, dtypes)
  lines = [
    f"missing in the checkpoint: {name} {wanted[name]}"
    for name in sorted(set(wanted) - set(found))
  ]
  lines += [
    f"only in the checkpoint: {name} {found[name]}"
    for name in sorted(set(found) - set(wanted))
  ]
  lines += [
    f"{name}: the checkpoint has {found[name]}, the config {wanted[name]}"
    for name in sorted(set(found) & set(wanted))
    if found[name] != wanted[name]
  ]
  return lines


def _described(tree: Any, dtypes: bool) -> dict[str, str]:
  """`path/of/leaf` to `[shape] dtype`; orbax turns named tuples into dicts."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): (
      f"{list(leaf.shape)}" + (f" {leaf.dtype}" if dtypes else "")
    )
    for path, leaf in leaves
  }
