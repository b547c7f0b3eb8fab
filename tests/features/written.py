"""Feature sets of fake encoders, written as the tests of their parts need."""

import dataclasses
import pathlib

from tests.features import fakes
from unialign_jax.data.sources import base
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import writer

REJECTED = base.Rejected(key="r", source="fakes", reason="null image")
# Shards of three: the second has no record at all.
ITEMS = [
  *map(fakes.sample, range(2)),
  *[REJECTED] * 4,
  *map(fakes.sample, range(2, 6)),
]
CONFIG = writer.WriterConfig(
  text_length=8,
  draws=2,
  shard_size=3,
  batch_size=2,
  feature_dtype="int8",
  max_rejected=4,
)


def write(
  folder: pathlib.Path,
  *,
  items: list = ITEMS,
  worker: tuple[int, int] = (0, 1),
  **changes: object,
) -> manifest_lib.Manifest | None:
  return writer.write_features(
    items,
    folder,
    fakes.nets(),
    dataclasses.replace(CONFIG, **changes),
    worker_index=worker[0],
    num_workers=worker[1],
  )


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }
