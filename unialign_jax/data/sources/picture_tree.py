"""A tree of pictures, refused while there is nothing in it to read."""

import os

from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import tars

_READABLE = (".jpg", ".jpeg", ".png", ".webp", ".tar")


def open_tree(root: str | os.PathLike) -> tars.Tree:
  """The tree under `root`.

  Raises:
    SourceError: it holds neither pictures nor tars; where there are packed
      archives, the error has the shell commands that make tars of them.
  """
  if not any(
    name.lower().endswith(_READABLE) for name in dataset_files.walk(root)
  ):
    tars.find(root)
  return tars.Tree(root)
