"""A train step small enough to compile and run in seconds."""

from typing import Any

from unialign_jax import config as config_lib
from unialign_jax.planning import planner

MODEL = {
  "width": 32,
  "depth": 2,
  "align_depth": 1,
  "text_dim": 16,
  "vocab_size": 40,
  "align_hidden": 16,
  "semantic_dim": 12,
}
DATA = {"mask_id": 39, "resolution": 32, "text_length": 8, "batch_size": 4}
OPTIMIZER = {"learning_rate": 1e-3}
# Compiles in half the time; nothing here runs long enough to miss the rest.
TRAIN = {"compiler_options": (("xla_backend_optimization_level", "0"),)}
GROUPS = {"model": MODEL, "data": DATA, "optimizer": OPTIMIZER, "train": TRAIN}


def config(**changes: dict[str, Any]) -> config_lib.Config:
  """The config; `changes` by group."""
  values = config_lib.load_file("bench.py:small")
  for group in {*GROUPS, *changes}:
    values[group].update(GROUPS.get(group, {}) | changes.get(group, {}))
  return planner.as_planned(values)


def flags() -> list[str]:
  """The same for a command."""
  return ["--config=bench.py:small"] + [
    f"--config.{group}.{key}={value}"
    for group, keys in GROUPS.items()
    for key, value in keys.items()
  ]
