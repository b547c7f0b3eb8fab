"""Writes a feature set: samples through the frozen encoders into shards.

Shard s holds items [s * shard_size, (s + 1) * shard_size) of the source, less
those that were rejected. Any number of workers on any number of hosts share
the work: a worker writes the shards whose number is its own modulo their
count. A worker that is killed and started again goes on with its first
unfinished shard. The worker that finds every shard finished writes the
manifest.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures

import tqdm
from absl import logging
from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.features import encode
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import merge
from unialign_jax.features import null_prompt
from unialign_jax.features import parts
from unialign_jax.features import quantise
from unialign_jax.features import reading
from unialign_jax.features import rejects as rejects_lib
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import tokens as tokens_lib
from unialign_jax.features import worker as worker_lib

_TERMINAL_SECONDS = 0.5  # between two states of the progress bar
_LOG_SECONDS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriterConfig:
  """How a feature set is written.

  Attributes:
    text_length: Tokens a text, L.
    draws: Masked draws a caption, M; 0 stores no text features, for training
      with `text_features="online"` only.
    feature_dtype: Of the stored text features, see `schema.FEATURE_DTYPES`.
    seed: Of the masked draws.
    shard_size: Items a shard.
    batch_size: Samples an encoder call.
    max_rejected: Items without a record that a worker may always meet (each is
      listed with its reason, and counted in the manifest) ...
    max_rejected_fraction: ... and how many more, as a share of what it read.
    processes: Decode processes; 0 decodes in this one.
    chunk: Consecutive items that a decode process takes at a time.

  Raises:
    ValueError: a number out of range, or an unknown dtype.
  """

  text_length: int
  draws: int
  feature_dtype: str = "bfloat16"
  seed: int = 0
  shard_size: int = 1000
  batch_size: int = 32
  max_rejected: int = 0
  max_rejected_fraction: float = 0.0
  processes: int = 0
  chunk: int = 16

  def __post_init__(self) -> None:
    for name, least in (
      ("text_length", 1),
      ("draws", 0),
      ("shard_size", 1),
      ("batch_size", 1),
      ("max_rejected", 0),
      ("max_rejected_fraction", 0),
      ("processes", 0),
      ("chunk", 1),
    ):
      if (value := getattr(self, name)) < least:
        raise ValueError(f"{name}: got {value}, expected >= {least}")
    quantise.check_dtype(self.feature_dtype)


def write_features(
  samples: parts.Samples,
  out_dir: str | os.PathLike,
  nets: encode.Encoders,
  config: WriterConfig,
  *,
  worker_index: int = 0,
  num_workers: int = 1,
  origin: manifest_lib.Origin = manifest_lib.Origin(),  # noqa: B008, frozen
  progress: bool = False,
) -> manifest_lib.Manifest | None:
  """Writes, continues or finishes one feature set.

  Args:
    samples: All samples of one task (or why an item gives none), in the same
      order in every worker and every run. With `len` and indexing, finished
      shards cost nothing; other iterables are read through.
    out_dir: The feature set's folder, local or in a bucket.
    nets: The frozen encoders.
    config: How to write it.
    worker_index: Which of the workers this is.
    num_workers: How many share the work.
    origin: What the samples are; a set is only continued with the same.
    progress: Shows a bar, where `samples` has a length and indexing.

  Returns:
    The manifest, or None while other workers' shards are missing.

  Raises:
    ValueError: bad arguments, no samples, too many rejected items, or a folder
      begun with other settings.
    ReadError: an item could not be read at all.
  """
  if not 0 <= worker_index < num_workers:
    raise ValueError(
      f"worker_index: got {worker_index}, expected 0 <= worker_index <"
      f" num_workers={num_workers}"
    )
  worker = worker_lib.Worker(worker_index, num_workers)
  folder = epath.Path(out_dir)
  folder.mkdir(parents=True, exist_ok=True)
  first, samples = parts.peek(samples, _cap(config))
  null = null_prompt.encode(nets.text, config.text_length)
  num_items = len(samples) if parts.has_random_access(samples) else 0
  layout = _layout(nets, config, first, origin, num_items, null)
  if (folder / manifest_lib.FILENAME).exists():
    manifest = manifest_lib.load(folder)
    shards.check_layout(manifest.layout, dataclasses.asdict(layout), folder)
    return manifest
  # One writer and once: another worker may be taking its checksum.
  has_null = (folder / manifest_lib.NULL_PROMPT_FILENAME).exists()
  if worker.index == 0 and not has_null:
    null_prompt.save(folder, null)
  encoder = encode.RecordEncoder(nets, layout, first.target_image.shape)
  writer = _Writer(folder, layout, encoder, config, worker)
  if num_items:
    num_shards = writer.write_items(samples, progress)
  else:
    num_shards = writer.write_stream(samples)
  return _finish(folder, num_shards, layout)


def _cap(config: WriterConfig) -> rejects_lib.Cap:
  return rejects_lib.Cap(config.max_rejected, config.max_rejected_fraction)


def _layout(
  nets: encode.Encoders,
  config: WriterConfig,
  first: sample_lib.Sample,
  origin: manifest_lib.Origin,
  num_items: int,
  null: null_prompt.NullPrompt,
) -> manifest_lib.Layout:
  mean_BHWC, _ = nets.image.encode(first.target_image[None])
  vae = nets.image.config
  return manifest_lib.Layout(
    **settings(config, origin, num_items),
    task=first.task,
    num_cond=len(first.cond_images),
    latent_shape=mean_BHWC.shape[1:],
    latent_scaling=(float(vae.shift_factor), float(vae.scaling_factor)),
    vocab_size=nets.text.vocab_size,
    mask_id=nets.text.mask_id,
    text_dim=null.features.shape[-1],
    semantic_dim=nets.semantic.dim,
    semantic_tokens=nets.semantic.tokens,
    text_encoder=nets.text.identity,
    image_encoder=nets.image.identity,
    semantic_encoder=nets.semantic.identity,
  )


def settings(
  config: WriterConfig, origin: manifest_lib.Origin, num_items: int
) -> dict[str, str | int]:
  """The part of the layout that is known before an encoder is loaded."""
  return {
    **dataclasses.asdict(origin),
    "items": num_items,
    "text_length": config.text_length,
    "draws": config.draws,
    "feature_dtype": config.feature_dtype,
    "shard_size": config.shard_size,
    "seed": config.seed,
  }


class _Writer:
  """Writes the shards of one worker, minding the cap on rejected items."""

  def __init__(
    self,
    folder: epath.Path,
    layout: manifest_lib.Layout,
    encoder: encode.RecordEncoder,
    config: WriterConfig,
    worker: worker_lib.Worker,
  ):
    self._folder = folder
    self._layout = layout
    self._encoder = encoder
    self._config = config
    self._worker = worker
    self._cap = _cap(config)
    self._bar = tqdm.tqdm(disable=True)

  def write_items(self, items: reading.Items, progress: bool) -> int:
    """Writes this worker's unfinished shards; returns the number of all."""
    size, count = self._layout.shard_size, len(items)
    num_shards = -(-count // size)
    mine = range(self._worker.index, num_shards, self._worker.count)
    todo = [number for number in mine if self._is_wanted(number)]
    left = sum(min(size, count - number * size) for number in todo)
    total = sum(min(size, count - number * size) for number in mine)
    self._bar = _bar(total, total - left, disable=not progress)
    reader = parts.of_items(
      items,
      size,
      todo,
      processes=self._config.processes,
      chunk=self._config.chunk,
    )
    with self._bar, reader as unfinished:
      for part in unfinished:
        self._write_shard(part)
    return num_shards

  def write_stream(self, stream: Iterable[reading.Read]) -> int:
    """As `write_items`, of items that can only be read in order."""
    num_items = 0

    def counted() -> Iterator[reading.Read]:
      nonlocal num_items
      for item in stream:
        num_items += 1
        yield item

    size = self._layout.shard_size
    for part in parts.of_stream(counted(), size, self._is_wanted):
      self._write_shard(part)
    return -(-num_items // size)

  def _is_wanted(self, number: int) -> bool:
    """Whether shard `number` is this worker's and still to be written."""
    if number % self._worker.count != self._worker.index:
      return False
    entry = shards.finished(self._folder, number, self._layout)
    if entry is None:
      return True
    self._cap.add_read(entry.shard.records + entry.shard.skipped)
    for reject in entry.rejects:
      self._cap.add(reject)
    return False

  def _write_shard(self, part: parts.Part) -> None:
    outcome = shards.Outcome()
    batches = _batches(self._items(part, outcome), self._config.batch_size)
    records = _overlapped(self._encoder.encode, batches)
    shard = shards.write(
      self._folder, part.number, records, self._layout, outcome
    )
    logging.info("%s: wrote %s", self._folder, shard)

  def _items(
    self, part: parts.Part, outcome: shards.Outcome
  ) -> Iterator[encode.Item]:
    """The items of a shard that can be encoded; the others are noted."""
    for index, read in enumerate(part.items, part.start):
      self._bar.update()
      self._cap.add_read()
      item = self._prepared(index, read)
      if isinstance(item, rejects_lib.Reject):
        logging.info("%s: rejected %s", self._folder, item)
        outcome.rejects.append(item)
        self._cap.add(item)
        continue
      outcome.truncated_prompts += item.tokens.prompt_truncated
      outcome.truncated_captions += item.tokens.caption_truncated
      yield item

  def _prepared(
    self, index: int, read: reading.Read
  ) -> encode.Item | rejects_lib.Reject:
    if isinstance(read, base.Rejected):
      return rejects_lib.of_item(index, read)
    try:
      return self._encoder.prepare(index, read)
    except tokens_lib.SampleError as e:
      return rejects_lib.of_error(index, read, e)


def _bar(total: int, initial: int, *, disable: bool) -> tqdm.tqdm:
  """Rate and time left are of what this run does itself."""
  seconds = _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
  return tqdm.tqdm(
    total=total,
    initial=initial,
    unit="image",
    mininterval=seconds,
    maxinterval=seconds,
    smoothing=0.05,
    disable=disable,
  )


def _batches(
  items: Iterator[encode.Item], size: int
) -> Iterator[list[encode.Item]]:
  batch: list[encode.Item] = []
  for item in items:
    batch.append(item)
    if len(batch) == size:
      yield batch
      batch = []
  if batch:
    yield batch


def _overlapped(
  encode_batch: Callable[[list[encode.Item]], list[schema.Record]],
  batches: Iterator[list[encode.Item]],
) -> Iterator[schema.Record]:
  """Encodes a batch while the one before is written and the next one read."""
  with futures.ThreadPoolExecutor(1) as executor:
    encoding = None
    for batch in batches:
      following = executor.submit(encode_batch, batch)
      if encoding is not None:
        yield from encoding.result()
      encoding = following
    if encoding is not None:
      yield from encoding.result()


def _finish(
  folder: epath.Path, num_shards: int, layout: manifest_lib.Layout
) -> manifest_lib.Manifest | None:
  """Writes the manifest if all shards are there; any worker writes the same."""
  missing = [
    number
    for number in range(num_shards)
    if shards.finished(folder, number, layout) is None
  ]
  if missing:
    logging.info(
      "%s: %d of %d shards are left to other workers",
      folder,
      len(missing),
      num_shards,
    )
    return None
  return merge.write(folder, num_shards, layout)
