"""One import: what a path means, and all of it converted and written."""

import dataclasses
import os
import pathlib
import re
from typing import Any

from unialign_jax import checkpoint
from unialign_jax.convert import fold_pooled
from unialign_jax.convert import importing
from unialign_jax.convert import read
from unialign_jax.convert import sources
from unialign_jax.convert import tensors
from unialign_jax.features import hub

_STEM = "diffusion_pytorch_model"
_FILE = re.compile(r"(?P<folder>.*/)?(?P<file>[^/]+\.safetensors)(?P<at>@.+)?")
# Keys of the folder's model_index.json -> those of our config.
_PIPELINE_KEYS = {"resolution": "resolution", "text_length": "text_length"}
_PARTS = {"text": "text_encoder_3", "tokenizer": "tokenizer_3", "image": "vae"}


@dataclasses.dataclass(frozen=True)
class _Found:
  """Weights, their config.json, and what else their folder says."""

  weights: read.Streamed
  described: dict[str, Any]
  settings: dict[str, dict[str, Any]]


def run(
  source: str,
  path: str,
  out: str | os.PathLike[str],
  *,
  fold_from: str = "",
  dtype: str = "",
) -> importing.Imported:
  """Imports weights and writes them, all or nothing.

  Args:
    source: a key of `sources.SOURCES`.
    path: folder or hub id of a pipeline or a transformer, or a single file.
    out: new or empty folder.
    fold_from: folder or hub id of SD3's CLIP encoders, or "".
    dtype: a key of `importing.DTYPES`, or "" for that of the weights.

  Raises:
    ValueError: whatever does not fit, before anything is written.
  """
  out = pathlib.Path(out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f"--out: {out} is in use, expected a new or empty folder.")
  if fold_from and not sources.SOURCES[source].is_sd3:
    raise ValueError(
      f"--fold-pooled: got --source={source}, which has no pooled text; only"
      " sd3 and sd35 have."
    )
  found = _find(path)
  # First, because CLIP and the transformer need not be in memory together.
  pooled_P = _pooled(fold_from) if fold_from else None
  imported = importing.convert(
    found.weights,
    found.described,
    source=source,
    settings=found.settings,
    pooled_P=pooled_P,
    dtype=dtype,
  )
  origin = {
    "source": source,
    "path": path,
    "fold_pooled": fold_from,
    "new": list(imported.new),
    "left_out": list(imported.left_out),
  }
  checkpoint.write_weights(out, imported.config, imported.params, origin)
  return imported


def _find(path: str) -> _Found:
  """What --path means."""
  if match := _FILE.fullmatch(path):
    folder = (match["folder"] or "./").rstrip("/") + (match["at"] or "")
    found = hub.folder(folder, files=(match["file"],))
    return _Found(read.from_file(found / match["file"]), {}, {})
  index = "model_index.json"
  root = hub.folder(
    path, files=(index, "config.json", "transformer/config.json")
  )
  inner = "transformer" if (root / "transformer").is_dir() else ""
  transformer = hub.weights(path, inner, stem=_STEM)
  weights = read.from_folder(transformer, _STEM)
  described = tensors.read_json(transformer / "config.json")
  settings: dict[str, dict[str, Any]] = {"encoders": {}, "data": {}}
  if inner and (root / index).is_file():
    says = tensors.read_json(root / index)
    for key, part in _PARTS.items():
      if (says.get(part) or [None])[0]:
        settings["encoders"][key] = _inside(path, part)
    for theirs, ours in _PIPELINE_KEYS.items():
      if theirs in says:
        settings["data"][ours] = says[theirs]
  return _Found(weights, described, settings)


def _inside(path: str, part: str) -> str:
  """A subfolder of a local folder or of a hub id."""
  local = pathlib.Path(path).expanduser()
  if local.is_dir():
    return str((local / part).absolute())
  name, at, revision = path.partition("@")
  return f"{name}/{part}{at}{revision}"


def _pooled(name: str) -> Any:
  return fold_pooled.pooled_empty_prompt(
    [
      (
        hub.weights(name, encoder, stem="model"),
        hub.folder(
          name,
          tokenizer,
          files=(*hub.TOKENIZER, *fold_pooled.TOKENIZER_FILES),
        ),
      )
      for encoder, tokenizer in fold_pooled.ENCODERS
    ]
  )
