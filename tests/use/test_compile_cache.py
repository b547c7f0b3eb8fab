"""The cache is on, in the user's folder, and whoever chose another keeps it."""

import pathlib

import jax
import pytest

from unialign_jax.use import compile_cache


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("XDG_CACHE_HOME", "elsewhere")
  assert compile_cache.folder() == pathlib.Path(
    "elsewhere/unialign_jax/compiled"
  )


@pytest.mark.parametrize("before", [None, "chosen"])
def test_it_is_on_unless_chosen(before: str | None):
  was = jax.config.jax_compilation_cache_dir
  try:
    jax.config.update("jax_compilation_cache_dir", before)
    compile_cache.enable()
    want = before or str(compile_cache.folder())
    assert jax.config.jax_compilation_cache_dir == want
  finally:
    jax.config.update("jax_compilation_cache_dir", was)
