"""What XLA has compiled once is kept for the next process.

In the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), unless JAX has
been told of another (`JAX_COMPILATION_CACHE_DIR`) or of none
(`JAX_ENABLE_COMPILATION_CACHE=false`).
"""

import os
import pathlib

import jax


def folder() -> pathlib.Path:
  """Where compiled functions go by default."""
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "unialign_jax" / "compiled"


def enable() -> None:
  """Turns the cache on, where nobody has chosen a folder before."""
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", str(folder()))
