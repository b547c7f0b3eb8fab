"""The frozen encoders of a run beside its weights: copied, or by reference."""

import json
import pathlib
import shutil

import numpy as np
import safetensors
import safetensors.numpy

from unialign_jax import config as config_lib
from unialign_jax.convert import tensors
from unialign_jax.features import encoders as encoders_lib
from unialign_jax.features import hub
from unialign_jax.features import mask_row

MODES = ("copy", "reference")
# Tied names of T5's token embedding; files hold one of them or both.
_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")


def copy(
  folder: pathlib.Path, config: config_lib.EncodersConfig, dtype: str
) -> None:
  """Copies `vae/`, `text_encoder_3/` and `tokenizer_3/` into a folder.

  Args:
    folder: an existing folder.
    config: which encoders the run used; their mask embedding is put in place.
    dtype: in which T5 is to be loaded where the reader does not say.

  Raises:
    ValueError: an encoder is not named, not found, or damaged.
  """
  check(config)
  vae = hub.weights(config.image, stem="diffusion_pytorch_model")
  _copy_weights(vae, folder / "vae", "diffusion_pytorch_model")
  text = hub.weights(config.text, stem="model")
  _copy_weights(text, folder / "text_encoder_3", "model")
  path = folder / "text_encoder_3" / "config.json"
  described = tensors.read_json(path)
  described.pop("torch_dtype", None)  # an older name of the same key
  path.write_text(json.dumps({**described, "dtype": dtype}, indent=2) + "\n")
  tokenizer = hub.folder(config.tokenizer, files=hub.TOKENIZER)
  (folder / "tokenizer_3").mkdir()
  for name in hub.TOKENIZER:
    if (tokenizer / name).exists():
      shutil.copyfile(tokenizer / name, folder / "tokenizer_3" / name)
  if config.mask_embedding:
    _put_mask_row(folder, described["d_model"], config.mask_embedding)


def references(config: config_lib.EncodersConfig) -> dict[str, dict[str, str]]:
  """Arguments of `from_pretrained` for each encoder, by hub id.

  Raises:
    ValueError: an encoder is a local folder, which others do not have, or the
      embedding of its mask token is kept apart from it.
  """
  check(config)
  if config.mask_embedding:
    raise ValueError(
      f"config.encoders.mask_embedding: got {config.mask_embedding!r}, expected"
      ' "" for --encoders=reference, as the referenced encoder has no such row;'
      " use --encoders=copy."
    )
  return {
    "vae": _reference("image", config.image),
    "text_encoder_3": _reference("text", config.text),
    "tokenizer_3": _reference("tokenizer", config.tokenizer),
  }


def check(config: config_lib.EncodersConfig) -> None:
  """Refuses a run that names no encoders.

  Raises:
    ValueError: naming the keys that are empty.
  """
  for key in ("text", "tokenizer", "image"):
    if not getattr(config, key):
      raise ValueError(
        f'config.encoders.{key}: got "" in the run, expected a folder or hub'
        f" id, which --target=diffusers needs; pass --{key}=FOLDER."
      )


def _reference(key: str, name: str) -> dict[str, str]:
  if pathlib.Path(name).expanduser().exists():
    raise ValueError(
      f"config.encoders.{key}: got the folder {name}, expected a hub id for"
      " --encoders=reference; use --encoders=copy, or pass"
      f" --{key}=OWNER/MODEL."
    )
  place, _, revision = name.partition("@")
  parts = place.split("/")
  reference = {"pretrained_model_name_or_path": "/".join(parts[:2])}
  if parts[2:]:
    reference["subfolder"] = "/".join(parts[2:])
  if revision:
    reference["revision"] = revision
  return reference


def _copy_weights(source: pathlib.Path, out: pathlib.Path, stem: str) -> None:
  """config.json, safetensors and their index; refuses what cannot be read."""
  tensors.Tensors(source, stem)
  out.mkdir()
  index = f"{stem}.safetensors.index.json"
  files = {*hub.weight_map(source, stem).values(), "config.json"}
  if not (source / f"{stem}.safetensors").exists():
    files.add(index)
  for name in sorted(files):
    shutil.copyfile(source / name, out / name)


def _put_mask_row(folder: pathlib.Path, width: int, source: str) -> None:
  """Writes the aligned embedding of the mask token into the copied T5."""
  row_E = mask_row.read(source, width)
  vocabulary = tensors.read_json(folder / "tokenizer_3/tokenizer.json")
  mask_id = next(
    token["id"]
    for token in vocabulary["added_tokens"]
    if token["content"] == encoders_lib.MASK_TOKEN
  )
  encoder = folder / "text_encoder_3"
  places = hub.weight_map(encoder, "model")
  for file in {places[name] for name in _EMBEDDINGS if name in places}:
    with safetensors.safe_open(encoder / file, framework="numpy") as opened:
      metadata = opened.metadata()
    held = safetensors.numpy.load_file(encoder / file)
    for name in set(_EMBEDDINGS) & set(held):
      held[name] = np.array(held[name])
      held[name][mask_id] = row_E.astype(held[name].dtype)
    safetensors.numpy.save_file(held, encoder / file, metadata=metadata)
    (encoder / file).chmod(0o644)
