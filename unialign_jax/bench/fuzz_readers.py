"""Reads all that is in a damaged file, as the rest of the project would."""

import pathlib

from etils import epath

from unialign_jax.bench import fuzz_features
from unialign_jax.bench import fuzz_seeds
from unialign_jax.convert import read
from unialign_jax.convert import tensors
from unialign_jax.data import shard_reader
from unialign_jax.data.sources import base
from unialign_jax.data.sources import captions
from unialign_jax.data.sources import decoded
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import parquet
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import registry
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema
from unialign_jax.features import shards

_COLUMNS = ("image", "text", "turns", "score")


def read_picture(data: bytes) -> None:
  picture_size.read(base.Picture(data))
  pictures.decode(base.Picture(data))


def read_record(data: bytes) -> None:
  schema.deserialize(data)


def read_shard(folder: pathlib.Path, data: bytes) -> None:
  count = len(fuzz_features.records())
  entry = fuzz_features.entry(len(data), count)
  (folder / entry.name).write_bytes(data)
  reader = shard_reader.ShardReader(
    epath.Path(folder / entry.name), entry, sleep=lambda seconds: None
  )
  for position in range(count):
    schema.deserialize(reader.read(position))


def read_manifest(folder: pathlib.Path, data: bytes) -> None:
  (folder / manifest_lib.FILENAME).write_bytes(data)
  manifest = manifest_lib.load(folder)
  for shard in manifest.shards:
    assert (folder / shard.name).parent == folder
  shards.check_layout(manifest.layout, {}, epath.Path(folder))


def read_tar(folder: pathlib.Path, data: bytes) -> None:
  path = folder / "tars" / "data_512_2M" / "0.tar"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data)
  _drain(registry.open_source("text_to_image_2m", path.parent.parent))


def read_parquet(folder: pathlib.Path, data: bytes) -> None:
  path = folder / "0.parquet"
  path.write_bytes(data)
  rows = parquet.Rows([epath.Path(path)], _COLUMNS, optional=("kind",))
  rows.column("text")
  for index in range(min(len(rows), 9)):
    rows.name(index)
    parquet.image(rows[index]["image"])


def read_lists(folder: pathlib.Path, data: bytes) -> None:
  (folder / "lists" / "0.jsonl").write_bytes(data)
  for kind in ("t2i", "edit", "composition"):
    source = registry.open_source("unialign_jsonl", folder / "lists", kind=kind)
    _drain(source)


def read_list(folder: pathlib.Path, data: bytes) -> None:
  (folder / "0.json").write_bytes(data)
  rows = jsonl.List(folder / "0.json")
  for index in range(len(rows)):
    try:
      rows[index]
    except ValueError:  # of a row, which its source rejects
      continue


def read_table(folder: pathlib.Path, name: str, data: bytes) -> None:
  root = folder / name.partition(".")[0]
  for picture in ("a.png", "b/c.png"):
    if not (root / picture).exists():
      (root / picture).parent.mkdir(parents=True, exist_ok=True)
      (root / picture).write_bytes(fuzz_seeds.picture())
  (root / name).write_bytes(data)
  _drain(registry.open_source("folder", root, text_key="text"))


def read_captions(folder: pathlib.Path, data: bytes) -> None:
  (folder / "captions.jsonl").write_bytes(data)
  raw = base.Raw(
    key="k",
    task="text_to_image",
    source="s",
    license="",
    caption_source="",
    target=base.Picture(fuzz_seeds.picture()),
    instruction="",
  )
  _drain(captions.WithCaptions([raw], folder / "captions.jsonl"))


def _drain(source: base.Source) -> None:
  """Every item, decoded: a sample or a rejection that can be written down."""
  samples = decoded.Decoded(source, side=8)
  for index in range(len(samples)):
    item = samples[index]
    if isinstance(item, base.Rejected):
      (item.key + item.source + item.reason + item.detail).encode()


def read_weights(folder: pathlib.Path, data: bytes) -> None:
  path = folder / "m-1.safetensors"
  path.write_bytes(data)
  weights = read.from_file(path)
  for name in weights:
    if weights.dtypes[name] in ("float32", "float16"):
      assert weights[name].shape == weights.shapes[name]


def read_index(folder: pathlib.Path, data: bytes) -> None:
  path = folder / "m.safetensors.index.json"
  path.write_bytes(data)
  for file in tensors.read_index(path).values():
    assert (folder / file).parent == folder
