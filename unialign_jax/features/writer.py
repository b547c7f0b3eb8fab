"""Writes a feature set: samples through the frozen encoders into shards.

Shard s holds samples [s * shard_size, (s + 1) * shard_size), less those that
were skipped. Any number of workers on any number of hosts share the work: a
worker writes the shards whose number is its own modulo their count. A worker
that is killed and started again goes on with its first unfinished shard. The
worker that finds every shard finished writes the manifest.
"""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator

from absl import logging

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encode
from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import null_prompt
from unialign_jax.features import quantise
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import tokens as tokens_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriterConfig:
  """How a feature set is written.

  Attributes:
    text_length: Tokens a text, L.
    draws: Masked draws a caption, M; 0 stores no text features, for training
      with `text_features="online"` only.
    feature_dtype: Of the stored text features, see `schema.FEATURE_DTYPES`.
    seed: Of the masked draws.
    shard_size: Samples a shard.
    batch_size: Samples an encoder call.
    max_skipped: Samples that a worker may skip because they cannot be encoded
      (each is logged, and counted in the manifest).

  Raises:
    ValueError: a number out of range, or an unknown dtype.
  """

  text_length: int
  draws: int
  feature_dtype: str = "bfloat16"
  seed: int = 0
  shard_size: int = 1000
  batch_size: int = 32
  max_skipped: int = 0

  def __post_init__(self) -> None:
    for name, least in (
      ("text_length", 1),
      ("draws", 0),
      ("shard_size", 1),
      ("batch_size", 1),
      ("max_skipped", 0),
    ):
      if (value := getattr(self, name)) < least:
        raise ValueError(f"{name}: got {value}, expected >= {least}")
    quantise.check_dtype(self.feature_dtype)


def write_features(
  samples: Iterable[sample_lib.Sample],
  out_dir: str | os.PathLike,
  nets: encode.Encoders,
  config: WriterConfig,
  *,
  worker_index: int = 0,
  num_workers: int = 1,
) -> manifest_lib.Manifest | None:
  """Writes, continues or finishes one feature set.

  Args:
    samples: All samples of one task, in the same order in every worker and
      every run. With `len` and indexing, finished shards cost nothing; other
      iterables are read through.
    out_dir: The feature set's folder.
    nets: The frozen encoders.
    config: How to write it.
    worker_index: Which of the workers this is.
    num_workers: How many share the work.

  Returns:
    The manifest, or None while other workers' shards are missing.

  Raises:
    ValueError: bad arguments, no samples, too many samples that cannot be
      encoded, or a folder begun with other settings.
  """
  if not 0 <= worker_index < num_workers:
    raise ValueError(
      f"worker_index: got {worker_index}, expected 0 <= worker_index <"
      f" num_workers={num_workers}"
    )
  folder = pathlib.Path(out_dir)
  folder.mkdir(parents=True, exist_ok=True)
  first, samples = _peek(samples)
  null = null_prompt.encode(nets.text, config.text_length)
  layout = _layout(nets, config, first, text_dim=null.features.shape[-1])
  if (folder / manifest_lib.FILENAME).exists():
    manifest = manifest_lib.load(folder)
    shards.check_same_layout(manifest.layout, layout, folder)
    return manifest
  # One writer and once: another worker may be taking its checksum.
  has_null = (folder / manifest_lib.NULL_PROMPT_FILENAME).exists()
  if worker_index == 0 and not has_null:
    null_prompt.save(folder, null)
  encoder = encode.RecordEncoder(nets, layout, first.target_image.shape)
  writer = _Writer(folder, layout, encoder, config)
  num_shards = 0
  for number, part in enumerate(_split(samples, config.shard_size)):
    num_shards += 1
    if number % num_workers == worker_index:
      writer.write_shard(number, part)
  return _merge(folder, num_shards, layout)


def _layout(
  nets: encode.Encoders,
  config: WriterConfig,
  first: sample_lib.Sample,
  text_dim: int,
) -> manifest_lib.Layout:
  mean_BHWC, _ = nets.image.encode(first.target_image[None])
  vae = nets.image.config
  return manifest_lib.Layout(
    task=first.task,
    num_cond=len(first.cond_images),
    latent_shape=mean_BHWC.shape[1:],
    latent_scaling=(float(vae.shift_factor), float(vae.scaling_factor)),
    text_length=config.text_length,
    vocab_size=nets.text.vocab_size,
    mask_id=nets.text.mask_id,
    text_dim=text_dim,
    semantic_dim=nets.semantic.dim,
    draws=config.draws,
    feature_dtype=config.feature_dtype,
    text_encoder=nets.text.identity,
    image_encoder=nets.image.identity,
    semantic_encoder=nets.semantic.identity,
    shard_size=config.shard_size,
    seed=config.seed,
  )


@dataclasses.dataclass
class _Writer:
  """Encodes the samples of shard after shard, minding the cap on skips."""

  folder: pathlib.Path
  layout: manifest_lib.Layout
  encoder: encode.RecordEncoder
  config: WriterConfig
  skipped: int = 0

  def write_shard(
    self, number: int, samples: Iterable[sample_lib.Sample]
  ) -> None:
    """Writes shard `number` unless it is finished."""
    if shards.finished(self.folder, number, self.layout) is not None:
      return
    counts = shards.Counts()
    start = number * self.layout.shard_size
    records = self._records(samples, start, counts)
    shards.write(self.folder, number, records, self.layout, counts)
    logging.info("%s: wrote shard %d, %s", self.folder, number, counts)

  def _records(
    self,
    samples: Iterable[sample_lib.Sample],
    start: int,
    counts: shards.Counts,
  ) -> Iterator[schema.Record]:
    """The records of one shard, whose first sample has number `start`."""
    items: list[encode.Item] = []
    for index, sample in enumerate(samples, start):
      try:
        item = self.encoder.prepare(index, sample)
      except tokens_lib.SampleError as e:
        self._skip(e)
        counts.skipped += 1
        continue
      counts.truncated_prompts += item.tokens.prompt_truncated
      counts.truncated_captions += item.tokens.caption_truncated
      items.append(item)
      if len(items) == self.config.batch_size:
        yield from self.encoder.encode(items)
        items = []
    if items:
      yield from self.encoder.encode(items)

  def _skip(self, error: tokens_lib.SampleError) -> None:
    self.skipped += 1
    if self.skipped > self.config.max_skipped:
      raise ValueError(
        f"got {self.skipped} samples that cannot be encoded, expected at most"
        f" {self.config.max_skipped}; mend the data or raise max_skipped. The"
        f" last: {error}"
      ) from error
    logging.warning("skipped %s", error)


def _peek(
  samples: Iterable[sample_lib.Sample],
) -> tuple[sample_lib.Sample, Iterable[sample_lib.Sample]]:
  """The first sample, and all of them."""
  if _has_random_access(samples):
    stream = (samples[i] for i in range(min(1, len(samples))))
  else:
    stream = samples = iter(samples)
  for first in stream:
    if _has_random_access(samples):
      return first, samples
    return first, itertools.chain([first], samples)
  raise ValueError("samples: got none, expected at least one; check the source")


def _has_random_access(samples: Iterable[sample_lib.Sample]) -> bool:
  return hasattr(samples, "__len__") and hasattr(samples, "__getitem__")


def _split(
  samples: Iterable[sample_lib.Sample], shard_size: int
) -> Iterator[Iterable[sample_lib.Sample]]:
  """The samples of each shard in turn, to be taken before the next is asked."""
  if _has_random_access(samples):
    for start in range(0, len(samples), shard_size):
      stop = min(start + shard_size, len(samples))
      yield (samples[i] for i in range(start, stop))
    return
  stream = iter(samples)
  for first in stream:
    part = itertools.chain([first], itertools.islice(stream, shard_size - 1))
    yield part
    collections.deque(part, maxlen=0)  # drops what the caller left


def _merge(
  folder: pathlib.Path, num_shards: int, layout: manifest_lib.Layout
) -> manifest_lib.Manifest | None:
  """Writes the manifest if all shards are there; any worker writes the same."""
  entries = [shards.finished(folder, i, layout) for i in range(num_shards)]
  if missing := [i for i, entry in enumerate(entries) if entry is None]:
    logging.info(
      "%s: %d of %d shards are left to other workers",
      folder,
      len(missing),
      num_shards,
    )
    return None
  path = folder / manifest_lib.NULL_PROMPT_FILENAME
  manifest = manifest_lib.Manifest(
    schema_version=schema.SCHEMA_VERSION,
    layout=layout,
    null_prompt_sha256=files.sha256(path),
    shards=tuple(entries),
  )
  files.write(folder / manifest_lib.FILENAME, manifest_lib.dumps(manifest))
  shards.remove_temporaries(folder)
  return manifest
