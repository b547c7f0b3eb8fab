"""Orbax checkpoints: state, data position and config, saved in the background.

One step folder holds `state` (parameters, EMA, optimizer, counters), `data`
(the position of the pipeline, one number), `config`, and `checksums.json`,
which covers every byte of the three. A save is written under a temporary name
and renamed when complete, so a killed save leaves the step before it as the
latest.
"""

from unialign_jax.checkpoint.damage import refuse_damage
from unialign_jax.checkpoint.failure import SaveError
from unialign_jax.checkpoint.folders import CONFIG_FILE
from unialign_jax.checkpoint.folders import FOLDER
from unialign_jax.checkpoint.folders import WEIGHTS_FILE
from unialign_jax.checkpoint.lock import InUseError
from unialign_jax.checkpoint.manager import Checkpoints
from unialign_jax.checkpoint.weights import check_start
from unialign_jax.checkpoint.weights import load_params
from unialign_jax.checkpoint.weights import with_weights
from unialign_jax.checkpoint.weights import write_weights

__all__ = [
  "CONFIG_FILE",
  "FOLDER",
  "WEIGHTS_FILE",
  "Checkpoints",
  "InUseError",
  "SaveError",
  "check_start",
  "load_params",
  "refuse_damage",
  "with_weights",
  "write_weights",
]
