"""The stages between a data set's files and a training step, timed.

Every stage works through windows of equal size and gives one `Timing`. The
first window, with imports, compilation and full queues at its end, is not in
it.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from etils import epath

from unialign_jax.data import pipeline as pipeline_lib
from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.features import job
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import reading
from unialign_jax.features import settings
from unialign_jax.features import shards
from unialign_jax.features import writer

_HELD = 64  # decoded samples that `encode` keeps


@dataclasses.dataclass(frozen=True)
class Timing:
  """Windows after the first one.

  Attributes:
    seconds: That each took.
    amounts: What each got done, by unit.
  """

  seconds: tuple[float, ...]
  amounts: dict[str, tuple[int, ...]]

  def rates(self, unit: str) -> list[float]:
    """Units a second, of every window."""
    return [
      amount / seconds
      for amount, seconds in zip(self.amounts[unit], self.seconds, strict=True)
    ]


class Repeated:
  """`count` items: those of `items`, over and over."""

  def __init__(self, items: reading.Items, count: int):
    self._items = items
    self._count = count

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> reading.Read:
    if not 0 <= index < self._count:
      raise IndexError(index)
    return self._items[index % len(self._items)]


def decode(
  data: job.Data, config: settings.FeaturesConfig, size: int, windows: int
) -> Timing:
  """Reads, decodes and frames, in the config's processes; images."""
  items = Repeated(data.open(config.pictures), size * windows)
  stream = reading.read(
    items,
    [(0, len(items))],
    processes=config.writer.processes,
    chunk=config.writer.chunk,
  )
  with contextlib.closing(stream):
    return _timed(stream, size, {"images": _num_images})


def encode(
  data: job.Data,
  config: settings.FeaturesConfig,
  folder: str,
  size: int,
  windows: int,
) -> Timing:
  """Encodes and writes samples that are decoded already; images."""
  opened = data.open(config.pictures)
  held = [opened[index] for index in range(min(len(opened), _HELD))]
  return _write(Repeated(held, size * windows), config, folder, size, 0)


def precompute(
  data: job.Data,
  config: settings.FeaturesConfig,
  folder: str,
  size: int,
  windows: int,
) -> Timing:
  """Decodes, encodes and writes, all at once; images."""
  items = Repeated(data.open(config.pictures), size * windows)
  return _write(items, config, folder, size, config.writer.processes)


def pipeline(
  folder: str, config: pipeline_lib.DataConfig, size: int, windows: int
) -> Timing:
  """Takes batches of a feature set as fast as they come; batches, bytes."""
  config = dataclasses.replace(config, sources=((folder, 1.0),), root="")
  layout = manifest_lib.load(folder).layout
  batches = pipeline_lib.make_pipeline(config, _expectations(layout))
  with contextlib.closing(batches):
    return _timed(
      itertools.islice(batches, size * windows),
      size,
      {
        "batches": lambda batch: 1,
        "examples": lambda batch: len(batch["source_id"]),
        "bytes": lambda batch: sum(each.nbytes for each in batch.values()),
      },
    )


def _timed(
  stream: Iterator[Any], size: int, amount: dict[str, Callable[[Any], int]]
) -> Timing:
  """Takes all of a stream, holding nothing, `size` to a window."""
  seconds, amounts = [], {unit: [] for unit in amount}
  sums = dict.fromkeys(amount, 0)
  start = time.perf_counter()
  for count, each in enumerate(stream, 1):
    for unit, of in amount.items():
      sums[unit] += of(each)
    if count % size == 0:
      now = time.perf_counter()
      seconds.append(now - start)
      for unit in amount:
        amounts[unit].append(sums[unit])
      sums, start = dict.fromkeys(amount, 0), now
  return _without_first(seconds, amounts)


def _without_first(
  seconds: list[float], amounts: dict[str, list[int]]
) -> Timing:
  return Timing(
    tuple(seconds[1:]), {unit: tuple(n[1:]) for unit, n in amounts.items()}
  )


def _num_images(item: reading.Read) -> int:
  if isinstance(item, base.Rejected):
    return 0
  assert isinstance(item, sample_lib.Sample)
  return 1 + len(item.cond_images)


def _write(
  items: reading.Items,
  config: settings.FeaturesConfig,
  folder: str,
  size: int,
  processes: int,
) -> Timing:
  """Writes a feature set; a shard is a window, timed by its entry's file."""
  start = time.time()
  writer.write_features(
    items,
    folder,
    settings.load_encoders(config),
    dataclasses.replace(config.writer, shard_size=size, processes=processes),
  )
  ends, images = [], []
  for number in shards.numbers(epath.Path(folder)):
    path = shards.entry_path(epath.Path(folder), number)
    entry = manifest_lib.load_entry(path)
    ends.append(os.stat(path).st_mtime)
    images.append(entry.shard.records * (1 + entry.layout.num_cond))
  seconds = [b - a for a, b in itertools.pairwise([start, *ends])]
  return _without_first(seconds, {"images": images})


def _expectations(layout: manifest_lib.Layout) -> manifest_lib.Expectations:
  """What a training would expect that fits the set."""
  names = {field.name for field in dataclasses.fields(layout)}
  fields = dataclasses.fields(manifest_lib.Expectations)
  same = {f.name: getattr(layout, f.name) for f in fields if f.name in names}
  return manifest_lib.Expectations(
    **same,
    max_cond=layout.num_cond,
    text_features="stored" if layout.draws else "online",
  )
