"""Feature sets in, one host's part of each global batch out.

Every feature set is shuffled anew each epoch (every record once an epoch) and
repeated; the steps draw whole batches from the sets in the order of
`mixture.StepOrder`; `ElasticIterator` deals each batch out to the hosts. The
position is one number, so a run goes on exactly on another number of hosts.
Threads, not processes: records hold arrays ready for use.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from unialign_jax.data import damage
from unialign_jax.data import feature_set
from unialign_jax.data import mixture
from unialign_jax.features import manifest as manifest_lib

_POSITION = "global_next_index"
_RECORDS = "records"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """What the pipeline needs to know of a run.

  Raises:
    ValueError: a number out of range.
  """

  sources: tuple[tuple[str, float], ...]  # (feature set folder, weight)
  batch_size: int  # global, examples a step
  shuffle_seed: int
  num_threads: int  # a host, each reads whole batches
  prefetch_batches: int  # a host, read ahead of the step
  max_damaged_records: int  # a host may meet in a run before it stops
  root: str = ""  # what folders that are not absolute lie under

  def __post_init__(self) -> None:
    for name, least in (
      ("batch_size", 1),
      ("shuffle_seed", 0),
      ("num_threads", 1),
      ("prefetch_batches", 1),
      ("max_damaged_records", 0),
    ):
      if (value := getattr(self, name)) < least:
        raise ValueError(f"data.{name}: got {value}, expected >= {least}")

  def folder(self, name: str) -> str:
    """Where a feature set lies."""
    return os.path.join(self.root, name)


class Batches:
  """Iterator over this host's part of every global batch.

  A batch is a dict of the element fields in `data/feature_set.py`, stacked
  (`[b, ...]`, b = batch_size / hosts), plus `source_id` `[b]` i32, the index
  of the feature set in `DataConfig.sources`.

  Attributes:
    feature_sets: One a source, opened and checked.
  """

  def __init__(
    self,
    iterator: grain.DatasetIterator,
    names: Sequence[str],
    feature_sets: Sequence[feature_set.FeatureSet],
    order: mixture.StepOrder,
    counter: damage.DamageCounter,
    batch_size: int,
  ):
    self.feature_sets = tuple(feature_sets)
    self._records = {name: len(each) for name, each in zip(names, feature_sets)}
    self._iterator = iterator
    self._order = order
    self._counter = counter
    self._batch_size = batch_size

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._iterator)

  @property
  def next_index(self) -> int:
    """Global batches that lie before the next one, from the beginning."""
    return self._iterator.get_state()[_POSITION] // self._batch_size

  def skip_to(self, index: int) -> None:
    """Makes global batch `index` the next one."""
    self.set_state({_POSITION: index * self._batch_size})

  def layout_at(self, index: int) -> manifest_lib.Layout:
    """Task, number of condition images and shapes of a global batch.

    A pure function of the number of the batch, the same on every host. That
    is the number of steps taken, unless batches were left out.
    """
    return self.feature_sets[self._order.source_at(index)].manifest.layout

  @property
  def num_damaged(self) -> int:
    """Damaged records that this host has met in this run."""
    return self._counter.count

  def keep_damage(self, path: pathlib.Path) -> None:
    """Counts damaged records on from a file, before the first batch.

    Raises:
      DamagedRecordsError: there are too many in it.
    """
    self._counter.keep(path)

  def get_state(self) -> dict[str, Any]:
    """The position, the same on every host: elements of the global stream.

    With it goes the number of records of each source, on which their order
    depends.
    """
    return self._iterator.get_state() | {_RECORDS: dict(self._records)}

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues where `get_state` was asked, on any number of hosts.

    Raises:
      ValueError: the position is not between two batches of this size, or a
        source has another number of records.
    """
    # A position of an earlier version has no numbers of records.
    for name, records in state.get(_RECORDS, {}).items():
      if self._records.get(name, records) != records:
        raise ValueError(
          f"config.data.sources: got {self._records[name]} records in {name},"
          f" the checkpoint was saved with {records}: they would be in another"
          " order, and some come again or not at all; copy the former feature"
          " set again, or begin another --workdir with config.train.init_from"
        )
    position = state[_POSITION]
    if position % self._batch_size:
      raise ValueError(
        f"data position: got {position} examples, expected a multiple of"
        f" data.batch_size={self._batch_size}; continue with the batch size"
        " that the run was begun with"
      )
    self._iterator.set_state({_POSITION: position})

  def close(self) -> None:
    """Stops the reader threads."""
    self._iterator.close()


def make_pipeline(
  config: DataConfig,
  expectations: manifest_lib.Expectations,
  *,
  host_index: int = 0,
  hosts: int = 1,
) -> Batches:
  """Checks the feature sets and starts at step 0.

  Args:
    config: What to read.
    expectations: What the config needs of every feature set; its
      `text_features` decides which fields a batch has.
    host_index: Which part of each global batch to give.
    hosts: Number of parts; laid end to end they are the global batch.

  Raises:
    ValueError: a feature set that cannot be used, or a batch size that the
      hosts cannot share equally.
  """
  if config.batch_size % hosts:
    raise ValueError(
      f"data.batch_size: got {config.batch_size}, expected a multiple of the"
      f" {hosts} hosts"
    )
  counter = damage.DamageCounter(config.max_damaged_records)
  order = mixture.StepOrder([weight for _, weight in config.sources])
  feature_sets = [
    feature_set.FeatureSet(config.folder(name), expectations, counter)
    for name, _ in config.sources
  ]
  dataset = grain.MapDataset.select_from_datasets(
    [
      _stream(source_id, each, config.shuffle_seed)
      for source_id, each in enumerate(feature_sets)
    ],
    mixture.BlockSelection(order, config.batch_size, hosts),
  )
  elastic = grain.experimental.ElasticIterator(
    dataset,
    config.batch_size,
    grain.sharding.ShardOptions(host_index, hosts),
    # grain's own default would buffer 500 batches.
    read_options=grain.ReadOptions(
      num_threads=config.num_threads,
      prefetch_buffer_size=config.prefetch_batches,
    ),
  )
  return Batches(
    iter(elastic),
    [name for name, _ in config.sources],
    feature_sets,
    order,
    counter,
    config.batch_size,
  )


def _stream(
  source_id: int, source: feature_set.FeatureSet, shuffle_seed: int
) -> grain.MapDataset:
  """The endless shuffled elements of one feature set."""
  # Epoch e is shuffled with seed + e: sets must not have neighbouring seeds.
  seed = np.random.SeedSequence([shuffle_seed, source_id]).generate_state(1)[0]

  def element(position: int, index: int) -> dict[str, np.ndarray]:
    fields = source.element(index, visit=position // len(source))
    return fields | {"source_id": np.int32(source_id)}

  return (
    grain.MapDataset.range(len(source))
    .map_with_index(element)
    .shuffle(seed=int(seed))
    .repeat()
  )
