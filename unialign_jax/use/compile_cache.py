"""What XLA has compiled once is kept for the next process.

In the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), unless JAX has
been told of another (`JAX_COMPILATION_CACHE_DIR`) or of none
(`JAX_ENABLE_COMPILATION_CACHE=false`).
"""

import os
import pathlib

import jax

# What a program must have, at least, to be kept.
_LEAST = (
  ("jax_persistent_cache_min_compile_time_secs", 0.0),
  ("jax_persistent_cache_min_entry_size_bytes", -1),
)


def folder() -> pathlib.Path:
  """Where compiled functions go by default."""
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "unialign_jax" / "compiled"


def enable(default: pathlib.Path | None = None) -> None:
  """Turns the cache on, where nobody has chosen a folder before.

  Everything is kept, not only what takes long: of several hundred programs
  of a second each there is a long wait, too.

  Args:
    default: another folder than `folder()`.
  """
  if jax.config.jax_compilation_cache_dir is None:
    where = str((default or folder()).absolute())
    jax.config.update("jax_compilation_cache_dir", where)
  for name, least in _LEAST:
    if name.upper() not in os.environ:
      jax.config.update(name, least)
