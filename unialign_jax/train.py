"""Trains: `python -m unialign_jax.train --config=stage2.py --workdir=DIR`.

A bare config name is looked for in configs/. Any key can be overridden with
`--config.group.key=value`. The same command again continues the run.
"""

import sys
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from unialign_jax import config as config_lib
from unialign_jax.training import loop

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file: a path, or a name in configs/."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, metrics, samples."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  if not flags.FLAGS["verbosity"].present:
    # orbax reports every file it writes.
    logging.set_verbosity(logging.WARNING)
  loop.run(config_lib.from_dict(_CONFIG.value), _WORKDIR.value)


def find_config(argv: Sequence[str]) -> list[str]:
  """The command line with the config file's full path in it."""
  found = list(argv)
  for i, word in enumerate(found):
    if word in ("--config", "-config") and i + 1 < len(found):
      found[i + 1] = str(config_lib.find_file(found[i + 1]))
    elif word.startswith(("--config=", "-config=")):
      name = word.split("=", 1)[1]
      found[i] = f"--config={config_lib.find_file(name)}"
  return found


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a mistake in it is one message."""
  try:
    return flags.FLAGS(find_config(argv))
  except (flags.Error, ValueError, AttributeError, KeyError, TypeError) as e:
    sys.exit(f"error: {e}")


def cli() -> None:
  """Runs `main`; what does not fit together is one message too."""
  try:
    app.run(main, flags_parser=parse_flags)
  except ValueError as error:
    if logging.vlog_is_on(1):
      raise
    sys.exit(f"error: {error}\n(--verbosity=1 shows where)")


if __name__ == "__main__":
  cli()
