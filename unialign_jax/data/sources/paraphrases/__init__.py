"""Instructions of perception tasks: many wordings of one request.

One file a task, one instruction a line: `canny.txt` asks for the map of a
photograph, `canny_to_photo.txt` for a photograph that fits a map.
"""

import functools
import hashlib
from importlib import resources

_SUFFIX = ".txt"


@functools.cache
def kinds() -> tuple[str, ...]:
  """The tasks that there are instructions for, e.g. "depth_to_photo"."""
  names = (file.name for file in resources.files(__name__).iterdir())
  return tuple(
    sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX))
  )


@functools.cache
def instructions(kind: str) -> tuple[str, ...]:
  """All wordings of a task.

  Raises:
    ValueError: there are none for `kind`.
  """
  if kind not in kinds():
    raise ValueError(
      f"instructions: got kind {kind!r}, expected one of {kinds()}"
    )
  file = resources.files(__name__) / f"{kind}{_SUFFIX}"
  return tuple(file.read_text(encoding="utf-8").splitlines())


def pick(kind: str, key: str) -> str:
  """One of the wordings: the same for a key in every run and process."""
  wordings = instructions(kind)
  # Python's own hash() differs from process to process.
  digest = hashlib.blake2b(f"{kind}\0{key}".encode(), digest_size=8).digest()
  return wordings[int.from_bytes(digest, "big") % len(wordings)]
