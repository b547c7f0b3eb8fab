"""Measurements: `python -m unialign_jax.bench COMMAND --help` tells more."""

import importlib
import signal
import sys
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging

from unialign_jax import command_line
from unialign_jax import interrupts

# Name -> module with `define_flags()`, `main(argv)` and, where it takes more
# than flags, `ARGUMENTS`, their names; what it measures.
_COMMANDS = {
  "train": ("unialign_jax.bench.train", "seconds a train step"),
  "sample": ("unialign_jax.bench.sample", "seconds a picture and a caption"),
  "data": ("unialign_jax.bench.data", "precompute and the input pipeline"),
  "growth": ("unialign_jax.bench.growth", "a step against the work in it"),
  "goodput": ("unialign_jax.bench.goodput", "where the time of a run went"),
  "soak": ("unialign_jax.bench.soak", "a run that is killed, and one alone"),
  "fuzz": ("unialign_jax.bench.fuzz", "damaged files through every reader"),
}
_INTERRUPTED = 130  # as a shell has it after Ctrl-C


def _command(argv: Sequence[str]) -> str:
  """The name of the command; without one, the list of them."""
  name = argv[1] if argv[1:] else ""
  if name in _COMMANDS:
    return name
  listed = [f"  {key:8} {text}" for key, (_, text) in _COMMANDS.items()]
  text = "\n".join(["usage: python -m unialign_jax.bench COMMAND", *listed])
  if name in ("--help", "-h"):
    print(text)
    sys.exit(0)
  sys.exit(f"error: got command {name!r}, expected one of these\n{text}")


def cli() -> None:
  """Runs the command that is named; what does not fit is one message."""
  path, _ = _COMMANDS[_command(sys.argv)]
  module = importlib.import_module(path)

  def parse(argv: Sequence[str]) -> list[str]:
    try:
      module.define_flags()  # reads the config files that are the default
    except (AttributeError, KeyError, TypeError, ValueError) as e:
      sys.exit(f"error: {e}")
    # For --help.
    sys.modules["__main__"].__doc__ = module.__doc__
    flags.adopt_module_key_flags(module)
    return command_line.parse_flags(argv)

  def main(argv: Sequence[str]) -> None:
    wanted = getattr(module, "ARGUMENTS", ())
    if len(argv[1:]) != len(wanted):
      expected = f"{', '.join(wanted)} and flags" if wanted else "flags only"
      raise app.UsageError(f"got arguments {argv[1:]}, expected {expected}.")
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    interrupts.keep()
    module.main(argv)

  try:
    app.run(main, [sys.argv[0], *sys.argv[2:]], flags_parser=parse)
  except KeyboardInterrupt:
    print("\nstopped; nothing is left behind", file=sys.stderr)
    sys.exit(_INTERRUPTED)
  except ValueError as error:
    if logging.vlog_is_on(1):
      raise
    sys.exit(f"error: {error}\n(--verbosity=1 shows where)")


if __name__ == "__main__":
  cli()
