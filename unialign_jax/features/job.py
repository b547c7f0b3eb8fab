"""One precompute run: all is checked first, then the feature set written."""

import dataclasses
import os
from collections.abc import Mapping

from etils import epath

from unialign_jax.data.sources import captions as captions_lib
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import registry
from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import settings
from unialign_jax.features import shards
from unialign_jax.features import worker as worker_lib
from unialign_jax.features import writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """What is read.

  Attributes:
    source: Name of the format, one of `registry.SOURCES`.
    root: Where the data set's files are, local or gs://.
    options: Of the format.
    captions: File with the captions that the data set lacks, or "".
  """

  source: str
  root: str | os.PathLike
  options: Mapping[str, str] = dataclasses.field(default_factory=dict)
  captions: str | os.PathLike = ""

  def open(self, pictures: settings.PicturesConfig) -> decoded.Decoded:
    """Opens it; no picture is read.

    Raises:
      SourceError: an unknown format or option, or files that are not the
        format's.
    """
    source = registry.open_source(self.source, self.root, **self.options)
    if self.captions:
      source = captions_lib.WithCaptions(source, self.captions)
    return decoded.Decoded(
      source, side=pictures.resolution, policy=pictures.policy
    )

  def origin(self, pictures: settings.PicturesConfig) -> manifest_lib.Origin:
    """What a feature set keeps of it; not where it was."""
    options = [f"{k}={v}" for k, v in sorted(self.options.items())]
    return manifest_lib.Origin(
      source=" ".join([self.source, *options]),
      framing=f"{pictures.policy} {pictures.resolution}",
      captions=files.sha256(self.captions) if self.captions else "",
    )


def run(
  data: Data,
  out: str | os.PathLike,
  config: settings.FeaturesConfig,
  worker: worker_lib.Worker,
) -> manifest_lib.Manifest | None:
  """Writes, continues or finishes a feature set.

  Returns:
    The manifest, or None while other workers' shards are missing.

  Raises:
    ValueError: something does not fit; before anything is compiled, but for
      too many rejected items.
    ReadError: an item could not be read at all.
  """
  items = data.open(config.pictures)
  origin = data.origin(config.pictures)
  settings.check_folders(config.encoders)
  known = writer.settings(config.writer, origin, len(items))
  shards.check_begun(epath.Path(out), known)
  return writer.write_features(
    items,
    out,
    settings.load_encoders(config),
    config.writer,
    worker_index=worker.index,
    num_workers=worker.count,
    origin=origin,
    progress=True,
  )
