"""Trains: `python -m unialign_jax.train --config=stage2.py --workdir=DIR`.

A bare config name is looked for in configs/; `stage2.py:tiny` asks the file for
its variant "tiny". Any key can be overridden with `--config.group.key=value`.
The same command again continues the run.

On several hosts the same command runs on each: on TPU VMs, under SLURM and in
a JobSet the processes find each other; elsewhere --coordinator=HOST:PORT,
--num_processes and --process_id say who is who.

Exit status: 0 finished, or saved on a signal; 2 what would be there the next
time too: a mistake in flags or config, steps without an update
(config.train.max_bad_steps), or too many damaged records
(config.data.max_damaged_records); 75 no step has ended for long
(config.train.watchdog_seconds); anything else is a failure.

What XLA compiles is kept for the next start, in the user's cache folder; of
several processes in WORKDIR/compiled; or where JAX_COMPILATION_CACHE_DIR says.
"""

import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from unialign_jax import checkpoint
from unialign_jax import command_line
from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.training import goodput
from unialign_jax.training import guard
from unialign_jax.training import loop
from unialign_jax.training import processes
from unialign_jax.use import compile_cache

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file: a path, or a name in configs/."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, metrics, samples."
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", "", "HOST:PORT of process 0, where nothing else tells."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "In all, with --coordinator.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Of this one, with --coordinator.", lower_bound=0
)
_STRICT = flags.DEFINE_bool(
  "strict", False, "End at a damaged newest checkpoint, use none before it."
)
flags.mark_flags_as_required(["config", "workdir"])

_MISTAKE = 2  # launch/run_forever.sh does not start such a command again


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(
      f"got arguments {argv[1:]}, expected flags only.", exitcode=_MISTAKE
    )
  if not flags.FLAGS["verbosity"].present:
    # orbax reports every file it writes.
    logging.set_verbosity(logging.WARNING)
  # Before anything computes, the checks of a config included.
  processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  config, workdir = config_lib.from_dict(_CONFIG.value), _WORKDIR.value
  # Process 0 alone writes; what others are to find has to be where they look.
  several = jax.process_count() > 1
  compile_cache.enable(pathlib.Path(workdir) / "compiled" if several else None)
  if _STRICT.value:
    checkpoint.refuse_damage(workdir)
  try:
    loop.run(config, workdir, age=goodput.process_age())
  except (damage.DamagedRecordsError, guard.BadStepsError) as error:
    sys.exit(f"error: {error}")


def cli() -> None:
  """Runs `main`; what does not fit together is one message, and status 2."""
  try:
    command_line.run(main)
  except SystemExit as end:
    status = end.code
    if isinstance(status, str):
      print(status, file=sys.stderr)
      status = _MISTAKE
    if status:
      processes.leave(status)
    sys.exit(status)
  except BaseException:
    processes.leave(1)
    raise


if __name__ == "__main__":
  cli()
