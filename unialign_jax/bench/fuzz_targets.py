"""The readers of files from outside, and what each may answer to damage.

A reader gets bytes and reads all that is in them. It may raise its own error,
nothing else: the caller would take another one for a fault of the program.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from unialign_jax.bench import fuzz_features
from unialign_jax.bench import fuzz_readers
from unialign_jax.bench import fuzz_repair
from unialign_jax.bench import fuzz_seeds
from unialign_jax.data import shard_reader
from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema

_FORMS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
_JSON = (
  *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"null", b"true", b"[]"),
  *(b"[" * 200, b'{"a":' * 200, b"{}", b'"\\ud800"', b'"\\u0000"'),
  *(b'"../../../etc/passwd"', b'"/dev/zero"', b"\xff\xfe", b"\xef\xbb\xbf"),
  *(b'"' + b"x" * 300 + b'"', b",", b"}", b"]", b'"', b"\n", b"\0"),
)
_TAR = (
  b"../../x",
  b"/etc/passwd",
  b"5 path=",
  b"17 GNU.sparse.map=",
  b"x",
  b"L",
)
_TAR += (b"\x80\0\0\0\0\0\0\0\0\0\0\xff", b"ustar\x0000", b"77777777777")
_PNG = (b"IDAT", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fdAT", b"eXIf", b"tRNS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """One reader.

  Attributes:
    seeds: Whole inputs.
    read: Reads one; may write to its scratch folder.
    errors: What it may raise.
    repair: Makes checksums right.
    tokens: Words of the format.
    front: Bytes that are damaged, where the rest is padding; None for all.
  """

  seeds: Sequence[bytes]
  read: Callable[[bytes], None]
  errors: tuple[type[Exception], ...]
  repair: Callable[[bytes], bytes] | None = None
  tokens: Sequence[bytes] = ()
  front: int | None = None


def make(folder: pathlib.Path) -> dict[str, Target]:
  """All targets by name; they write into `folder`."""
  for name in ("a.png", "b/c.png"):
    (folder / "lists" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "lists" / name).write_bytes(fuzz_seeds.picture())
  repairs = {"PNG": fuzz_repair.png}
  tokens = {"PNG": _PNG}
  targets = {
    form.lower(): Target(
      seeds=fuzz_seeds.pictures(form),
      read=fuzz_readers.read_picture,
      errors=(pictures.PictureError,),
      repair=repairs.get(form),
      tokens=tokens.get(form, ()),
    )
    for form in _FORMS
  }
  return targets | _features(folder) | _sources(folder) | _weights(folder)


def _features(folder: pathlib.Path) -> dict[str, Target]:
  return {
    "record": Target(
      seeds=fuzz_features.records(),
      read=fuzz_readers.read_record,
      errors=(schema.RecordError,),
      repair=fuzz_repair.record,
      tokens=(b'"dtype":"F64"', b'"shape":[0]', b"18446744073709551615"),
    ),
    "shard": Target(
      seeds=[fuzz_features.shard(folder)],
      read=lambda data: fuzz_readers.read_shard(folder, data),
      errors=(
        schema.RecordError,
        shard_reader.ShardError,
        manifest_lib.ManifestError,
      ),
      front=2**13,
    ),
    "manifest": Target(
      seeds=[fuzz_features.manifest()],
      read=lambda data: fuzz_readers.read_manifest(folder, data),
      errors=(manifest_lib.ManifestError,),
      tokens=_JSON,
    ),
  }


def _sources(folder: pathlib.Path) -> dict[str, Target]:
  rows = fuzz_seeds.json_rows()
  lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
  table = "".join(
    json.dumps({"file_name": name, "text": f"picture {name}"}) + "\n"
    for name in ("a.png", "b/c.png")
  ).encode()
  line = {"source": "s", "key": "k", "caption": "c", "model": "m"}
  return {
    "tar": Target(
      seeds=fuzz_seeds.tars(),
      read=lambda data: fuzz_readers.read_tar(folder, data),
      errors=(base.SourceError,),
      repair=fuzz_repair.tar,
      tokens=_TAR,
    ),
    "parquet": Target(
      seeds=fuzz_seeds.parquet_files(),
      read=lambda data: fuzz_readers.read_parquet(folder, data),
      errors=(base.SourceError,),
    ),
    "jsonl": Target(
      seeds=[lines],
      read=lambda data: fuzz_readers.read_lists(folder, data),
      errors=(base.SourceError,),
      tokens=_JSON,
    ),
    "json_list": Target(
      seeds=[json.dumps(rows, indent=1).encode(), b"\xef\xbb\xbf[]"],
      read=lambda data: fuzz_readers.read_list(folder, data),
      errors=(base.SourceError,),
      tokens=_JSON,
    ),
    "metadata": Target(
      seeds=[table],
      read=lambda data: fuzz_readers.read_table(folder, "metadata.jsonl", data),
      errors=(base.SourceError,),
      tokens=_JSON,
    ),
    "csv": Target(
      seeds=[b'file_name,text\na.png,"one, two"\nb/c.png,three\n'],
      read=lambda data: fuzz_readers.read_table(folder, "captions.csv", data),
      errors=(base.SourceError,),
      tokens=(b'"', b",", b"\r", b"\n", b"\0", b"\xff", b"../a.png"),
    ),
    "captions": Target(
      seeds=[json.dumps(line).encode() + b"\n"],
      read=lambda data: fuzz_readers.read_captions(folder, data),
      errors=(base.SourceError,),
      tokens=_JSON,
    ),
  }


def _weights(folder: pathlib.Path) -> dict[str, Target]:
  index = {"metadata": {}, "weight_map": {"a": "m-1.safetensors"}}
  return {
    "safetensors": Target(
      seeds=fuzz_seeds.weights(),
      read=lambda data: fuzz_readers.read_weights(folder, data),
      errors=(ValueError,),
      tokens=(b'"dtype":"F8_E4M3"', b'"shape":[0]', b"18446744073709551615"),
    ),
    "index": Target(
      seeds=[json.dumps(index).encode()],
      read=lambda data: fuzz_readers.read_index(folder, data),
      errors=(ValueError,),
      tokens=_JSON,
    ),
  }
