"""Published weights as a folder that a run starts from and samplers read.

  python -m unialign_jax.import_weights --source=sd3 --path=FOLDER --out=OUT \\
    [--fold-pooled=FOLDER] [--dtype=float32]
  python -m unialign_jax.train --config.train.init_from=OUT ...

Sources: sd3, sd35, dual_diffusion, unialignment. --path is a pipeline's folder
or its transformer's, a hub id of either, or SD3's single file with its
original names. docs/weights.md tells more.
"""

import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import app
from absl import flags
from absl import logging

from unialign_jax import checkpoint
from unialign_jax import command_line
from unialign_jax.convert import fold_pooled
from unialign_jax.convert import importing
from unialign_jax.convert import read
from unialign_jax.convert import sources
from unialign_jax.features import hub

_SOURCE = flags.DEFINE_enum(
  "source", None, sorted(sources.SOURCES), "Which model the weights are of."
)
_PATH = flags.DEFINE_string(
  "path", None, "Folder, hub id, or .safetensors file of the model."
)
_OUT = flags.DEFINE_string("out", None, "New or empty folder to write.")
_FOLD = flags.DEFINE_string(
  "fold_pooled",
  None,
  "SD3 only: folder or hub id with the CLIP encoders (text_encoder, tokenizer,"
  " text_encoder_2, tokenizer_2); modulation then begins as SD3's for the empty"
  " prompt.",
)
_DTYPE = flags.DEFINE_enum(
  "dtype",
  "",
  ["", *importing.DTYPES],
  "Of the written weights; that of the file by default. Training makes them"
  " float32 in any case.",
)
flags.mark_flags_as_required(["source", "path", "out"])
flags.DEFINE_alias("fold-pooled", "fold_pooled")
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


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  imported = run(
    _SOURCE.value,
    _PATH.value,
    _OUT.value,
    fold_from=_FOLD.value or "",
    dtype=_DTYPE.value,
  )
  for what, lines in (
    ("initialised, not loaded", imported.new),
    ("in the files, not used", imported.left_out),
  ):
    for line in lines:
      print(f"{what}: {line}")
  print(f"{_OUT.value}: written; --config.train.init_from={_OUT.value}")


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
  described = read.read_json(transformer / "config.json")
  settings: dict[str, dict[str, Any]] = {"encoders": {}, "data": {}}
  if inner and (root / index).is_file():
    says = read.read_json(root / index)
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


def cli() -> None:
  """Runs `main`; what does not fit together is one message."""
  try:
    app.run(main, flags_parser=command_line.parse_flags)
  except ValueError as error:
    if logging.vlog_is_on(1):
      raise
    sys.exit(f"error: {error}\n(--verbosity=1 shows where)")


if __name__ == "__main__":
  cli()
