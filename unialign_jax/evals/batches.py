"""Batches of one shard: which rows, what is left to do, how long they take."""

import collections
import contextlib
import pathlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import tqdm

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.evals import folder
from unialign_jax.use import outputs

_T = TypeVar("_T")


def shared_out(
  rows: Sequence[_T],
  key: Callable[[_T], Any],
  size: int,
  shard: folder.Shard,
) -> list[list[_T]]:
  """This shard's batches: rows of one key, in order, at most `size`."""
  groups: dict[Any, list[_T]] = {}
  for row in rows:
    groups.setdefault(key(row), []).append(row)
  batches = [
    group[start : start + size]
    for group in groups.values()
    for start in range(0, len(group), size)
  ]
  return batches[shard.index :: shard.count]


def bar(
  unit: str, batches: Sequence[Sequence[Any]], todo: Sequence[Sequence[Any]]
) -> tqdm.tqdm:
  """A progress bar over all batches, of which some is still to do."""
  total, left = (sum(map(len, some)) for some in (batches, todo))
  return tqdm.tqdm(total=total, initial=total - left, unit=unit, smoothing=0)


@contextlib.contextmanager
def logged(
  log: outputs.Lines, pipe: pipeline_lib.Pipeline, group: str, count: int
) -> Iterator[None]:
  """Adds a line with the time of a batch, once it is done."""
  before, start = pipe.num_compiled, time.monotonic()
  yield
  log.add(
    {
      "group": group,
      "count": count,
      "seconds": round(time.monotonic() - start, 4),
      "full": count == pipe.batch_size,
      "compiled": pipe.num_compiled > before,
    }
  )


def check_unique(what: str, names: Sequence[str]) -> None:
  """Refuses a name that is there twice.

  Raises:
    ValueError: one is.
  """
  counts = collections.Counter(names)
  twice = sorted(name for name, count in counts.items() if count > 1)
  if twice:
    raise ValueError(f"{what}: got {twice[:5]} more than once, expected once.")


def name(image: pathlib.Path | bytes) -> str:
  """Of a picture, for an error."""
  return "a picture in the data" if isinstance(image, bytes) else str(image)
