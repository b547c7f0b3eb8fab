"""manifest.json: what a feature set is, and whether it fits a config.

A feature set is a folder of ArrayRecord shards, `null_prompt.safetensors`
(features of the prompt `" "`), `rejects.jsonl` (items that gave no record) and
`manifest.json`, written last: a folder without one is unfinished.
"""

import dataclasses
import json
import os
import re
import typing
from typing import Any

from etils import epath

from unialign_jax import strict_json
from unialign_jax.features import rejects as rejects_lib
from unialign_jax.features import schema

FILENAME = "manifest.json"
NULL_PROMPT_FILENAME = "null_prompt.safetensors"
# T5 features read from the records, or computed inside the train step.
TEXT_FEATURES = ("stored", "online")
_PRECOMPUTE = "python -m unialign_jax.precompute"
# A file in the folder of the set: its name leads nowhere else.
_FILE = re.compile(r"[\w.-]+\.arrayrecord", re.ASCII)


class ManifestError(ValueError):
  """A feature set that is unfinished, damaged or made for another config."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """What the samples of a feature set are, beyond what the records tell."""

  source: str = ""  # its name and options
  framing: str = ""  # how pictures became squares
  captions: str = ""  # sha256 of the file that filled missing captions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """What every record of a feature set has in common."""

  source: str  # these three as in `Origin`
  framing: str
  captions: str
  items: int  # of the source; 0 where it is a stream of unknown length
  task: str
  num_cond: int  # condition images of every record
  latent_shape: tuple[int, int, int]  # H, W, C
  latent_scaling: tuple[float, float]  # shift_factor, scaling_factor
  text_length: int
  vocab_size: int
  mask_id: int
  text_dim: int
  semantic_dim: int
  semantic_tokens: int  # T of h_image by patch, 0 where it is averaged
  draws: int  # masked draws a record; 0: for online mode only
  feature_dtype: str  # of the stored text features
  text_encoder: str  # identities: hashes of config and weights
  image_encoder: str
  semantic_encoder: str
  shard_size: int  # items a shard, rejected ones included
  seed: int  # of the masked draws

  @property
  def h_image_shape(self) -> tuple[int, ...]:
    """[S], or [T, S] where features are kept by patch."""
    tokens = (self.semantic_tokens,) if self.semantic_tokens else ()
    return (*tokens, self.semantic_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """One shard file and what went into it."""

  name: str
  records: int
  bytes: int
  sha256: str  # to check copies with; reading checks record by record
  skipped: int  # items that were rejected
  truncated_prompts: int
  truncated_captions: int

  def __post_init__(self) -> None:
    if not _FILE.fullmatch(self.name):
      raise ValueError(
        f"got the shard {self.name!r}, expected a file name like"
        " shard-00000.arrayrecord"
      )
    if min(self.records, self.bytes, self.skipped) < 0:
      raise ValueError(f"got {self}, expected no negative number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """The contents of manifest.json."""

  schema_version: int
  layout: Layout
  null_prompt_sha256: str
  shards: tuple[Shard, ...]  # those that hold records
  rejected: dict[str, int]  # items that gave none, by reason

  @property
  def num_records(self) -> int:
    return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """What is kept of one finished shard until the manifest is written."""

  layout: Layout
  shard: Shard
  rejects: tuple[rejects_lib.Reject, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectations:
  """What a config needs of a feature set.

  An encoder's identity is None where the config names no such encoder: then
  any is taken.
  """

  latent_shape: tuple[int, int, int]
  text_length: int
  vocab_size: int
  mask_id: int
  text_dim: int
  semantic_dim: int
  semantic_tokens: int
  max_cond: int
  text_features: str  # one of TEXT_FEATURES
  text_encoder: str | None = None
  image_encoder: str | None = None
  semantic_encoder: str | None = None

  def __post_init__(self) -> None:
    if self.text_features not in TEXT_FEATURES:
      raise ValueError(
        f"data.text_features: got {self.text_features!r}, expected one of"
        f" {TEXT_FEATURES}"
      )


def dumps(value: Manifest | Entry) -> bytes:
  """JSON text that `load` or `load_entry` reads."""
  return json.dumps(dataclasses.asdict(value), indent=2).encode("utf-8")


def load(folder: str | os.PathLike) -> Manifest:
  """Reads a feature set's manifest.

  Raises:
    ManifestError: there is none, or it is not one that this version writes.
  """
  path = epath.Path(folder) / FILENAME
  try:
    tree = _read(path)
  except FileNotFoundError as e:
    raise ManifestError(
      f"feature set {folder}: got no {FILENAME}, expected a finished set;"
      f" write or finish it with `{_PRECOMPUTE}` (with --merge where all its"
      " shards are there), or correct data.sources"
    ) from e
  version = tree.get("schema_version") if isinstance(tree, dict) else None
  if version != schema.SCHEMA_VERSION:
    raise ManifestError(
      f"{path}: got schema_version {version}, expected"
      f" {schema.SCHEMA_VERSION}; delete the set and run `{_PRECOMPUTE}` again"
    )
  return _parsed(Manifest, tree, path)


def load_entry(path: epath.Path) -> Entry:
  """Reads the entry of one shard.

  Raises:
    ManifestError: it is not one that this version writes.
  """
  return _parsed(Entry, _read(path), path)


def _read(path: epath.Path) -> Any:
  try:
    return strict_json.read(path)
  except FileNotFoundError:
    raise
  except OSError as e:
    raise _unreadable(path, e) from e
  except ValueError as e:  # neither JSON nor UTF-8
    raise _damaged(path, f"{e}") from e


def _parsed(kind: Any, tree: Any, path: epath.Path) -> Any:
  """`tree` as a `kind`: a dataclass, a tuple of one kind, an int, ... .

  Every key must be there and none besides, every value of its type.
  """
  if typing.get_origin(kind) is tuple and isinstance(tree, list):
    return tuple(_parsed(typing.get_args(kind)[0], x, path) for x in tree)
  if typing.get_origin(kind) is dict and isinstance(tree, dict):
    _, value_kind = typing.get_args(kind)
    return {k: _parsed(value_kind, v, path) for k, v in tree.items()}
  if not dataclasses.is_dataclass(kind):
    # To Python true is an int as well.
    is_bool = isinstance(tree, bool) and kind is not bool
    if is_bool or not isinstance(tree, typing.get_origin(kind) or kind):
      raise _damaged(path, f"got {tree!r}, expected {kind}")
    return tree
  kinds = {field.name: field.type for field in dataclasses.fields(kind)}
  if not isinstance(tree, dict) or tree.keys() != kinds.keys():
    got = sorted(tree) if isinstance(tree, dict) else tree
    raise _damaged(path, f"got {got}, expected an object of {sorted(kinds)}")
  values = {k: _parsed(kinds[k], v, path) for k, v in tree.items()}
  try:
    return kind(**values)
  except ValueError as e:
    raise _damaged(path, str(e)) from e


def _damaged(path: epath.Path, reason: str) -> ManifestError:
  return ManifestError(
    f"{path} is damaged: {reason}; delete it and run `{_PRECOMPUTE}` again"
  )


def _unreadable(path: epath.Path, error: OSError) -> ManifestError:
  return ManifestError(
    f"{path}: got {error}, expected a file that this process may read; mend"
    " the storage or the permissions, or correct data.sources"
  )


# Which expectation a field of the layout must equal, and the config key that
# changes the expectation.
_REMEDIES = {
  "latent_shape": "data.resolution",
  "text_length": "data.text_length",
  "vocab_size": "model.vocab_size",
  "mask_id": "data.mask_id",
  "text_dim": "model.text_dim",
  "semantic_dim": "model.semantic_dim",
  "semantic_tokens": "loss.intrinsic_image",
  "text_encoder": "encoders.text",
  "image_encoder": "encoders.image",
  "semantic_encoder": "encoders.semantic",
}


def check(
  manifest: Manifest, expectations: Expectations, folder: str | os.PathLike
) -> None:
  """Refuses a feature set that does not fit the config.

  Raises:
    ManifestError: every misfit in one message: the field, what the set has,
      what the config needs, and what to change.
  """
  layout = manifest.layout
  misfits = []
  for name, key in _REMEDIES.items():
    got, expected = getattr(layout, name), getattr(expectations, name)
    if expected is not None and got != expected:
      misfits.append(f"{name}: got {got}, expected {expected} ({key})")
  if layout.num_cond > expectations.max_cond:
    misfits.append(
      f"num_cond: got {layout.num_cond}, expected at most"
      f" {expectations.max_cond} (data.max_cond)"
    )
  if expectations.text_features == "stored" and not layout.draws:
    misfits.append(
      "draws: got 0, expected stored masked draws"
      ' (or set data.text_features="online")'
    )
  if not manifest.num_records:
    misfits.append("records: got 0, expected at least 1")
  if misfits:
    raise ManifestError(
      f"feature set {folder} does not fit the config:\n  "
      + "\n  ".join(misfits)
      + f"\nChange the keys named, or write the set with `{_PRECOMPUTE}` from"
      " this config."
    )
