"""What the commands with a `--config` share: the file by name, one message."""

import sys
from collections.abc import Callable
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging

from unialign_jax import config as config_lib
from unialign_jax import interrupts


def find_config(argv: Sequence[str]) -> list[str]:
  """The command line with the config file's full path in it.

  Raises:
    ValueError: no such file.
  """

  def full(name: str) -> str:
    name, *variant = name.split(":", 1)
    return ":".join([str(config_lib.find_file(name)), *variant])

  found = list(argv)
  for i, word in enumerate(found):
    if word in ("--config", "-config") and i + 1 < len(found):
      found[i + 1] = full(found[i + 1])
    elif word.startswith(("--config=", "-config=")):
      found[i] = f"--config={full(word.split('=', 1)[1])}"
  return found


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a mistake in it is one message."""
  try:
    return flags.FLAGS(find_config(argv))
  except (flags.Error, ValueError, AttributeError, KeyError, TypeError) as e:
    sys.exit(f"error: {e}")


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs a command; what does not fit together is one message."""
  interrupts.keep()
  try:
    app.run(main, flags_parser=parse_flags)
  except ValueError as error:
    if logging.vlog_is_on(1):
      raise
    sys.exit(f"error: {error}\n(--verbosity=1 shows where)")


def options(given: Sequence[str]) -> dict[str, str]:
  """`--option=key=value` flags as texts, for `registry.open_source`.

  Raises:
    ValueError: one that is not key=value.
  """
  found = {}
  for option in given:
    key, equals, value = option.partition("=")
    if not equals or not key.isidentifier():
      raise ValueError(f"--option: got {option!r}, expected key=value")
    found[key] = value
  return found
