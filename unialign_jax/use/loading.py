"""A model ready to be placed: from a run here, or from an exported folder.

A name is a workdir (`config.json` and `checkpoints/`), a folder in diffusers
layout (`transformer/`, `vae/`, `text_encoder_3/`, `tokenizer_3/`), the hub id
of one, as `features.hub` reads it, or `SHIPPED`.
"""

import dataclasses
import os
import pathlib
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp

from unialign_jax import checkpoint
from unialign_jax.features import encoders as encoders_lib
from unialign_jax.models import mmdit
from unialign_jax.use import exported
from unialign_jax.use import quantise
from unialign_jax.use import settings as settings_lib

# The Shapes model that comes with the package, where no folder has this name.
SHIPPED = "shapes"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
  """Weights and defaults of one model.

  Attributes:
    name: what it was loaded by.
    model: the network's shape, with the dtype of its activations.
    params: of the network.
    text: T5 and tokenizer.
    image: the VAE.
    text_length: L, tokens of every text.
    for_images: defaults, among them the resolution that was trained.
    for_texts: defaults.
    quantize: what large kernels become on the devices, one of
      `quantise.TYPES`; None for what they are.
  """

  name: str
  model: mmdit.MMDiTConfig
  params: Any
  text: encoders_lib.TextEncoder
  image: encoders_lib.ImageEncoder
  text_length: int
  for_images: settings_lib.ImageSettings
  for_texts: settings_lib.TextSettings
  quantize: str | None = None


def load(path: str | os.PathLike) -> tuple[mmdit.MMDiT, Any]:
  """The network alone: (model, params), to be called as `model.apply`.

  Args:
    path: workdir, exported folder, hub id or "shapes"; of a workdir the
      averaged weights of its latest checkpoint.

  Raises:
    ValueError: neither of them, or weights that do not fit.
  """
  path = place(path)
  if is_workdir(path):
    config, params = checkpoint.load_params(path)
    return mmdit.MMDiT(config.model), params
  config, params = exported.load_network(path, None)
  return mmdit.MMDiT(config), params


def load_all(
  path: str | os.PathLike,
  *,
  dtype: str | None,
  step: int | None,
  ema: bool,
  encoders: dict[str, str],
  quantize: str | None = None,
) -> Loaded:
  """The network with its encoders.

  Args:
    path: as in `load`.
    dtype: of activations, frozen encoders and (where it is narrower than
      float32) parameters; None for that of the run or the folder.
    step: which checkpoint of a workdir; None for the latest.
    ema: the averaged weights of a workdir, or the trained ones.
    encoders: folders or hub ids by their names in `config.encoders`, instead
      of those that the run or the folder names.
    quantize: as `Loaded` has it.

  Raises:
    ValueError: files missing, weights or encoders that do not fit; a dtype or
      a quantisation that is unknown or not installed.
  """
  if dtype not in (None, "float32", "bfloat16"):
    raise ValueError(
      f"dtype: got {dtype!r}, expected 'float32', 'bfloat16' or None."
    )
  quantise.check(quantize)
  root = place(path)
  if is_workdir(root):
    config, params = checkpoint.load_params(root, step=step, ema=ema)
    model, sample = config.model, config.sample
    names = dataclasses.asdict(config.encoders)
    size, length = config.data.resolution, config.data.text_length
  else:
    model, params = exported.load_network(root, dtype)
    found = exported.describe(root)
    sample, names = found.sample, found.encoders
    size, length = found.resolution, found.text_length
  model = dataclasses.replace(model, dtype=dtype or model.dtype)
  params = _narrowed(params, jnp.dtype(model.dtype))
  names |= {key: name for key, name in encoders.items() if name}
  text, image = _encoders(names, jnp.dtype(model.dtype))
  _check(model, text, image)
  return Loaded(
    name=os.fspath(path),
    model=model,
    params=params,
    text=text,
    image=image,
    text_length=length,
    for_images=settings_lib.for_images(sample, size),
    for_texts=settings_lib.for_texts(sample),
    quantize=quantize,
  )


def is_workdir(path: str | os.PathLike) -> bool:
  """Whether a folder here holds a run (or imported weights)."""
  return (pathlib.Path(path) / checkpoint.FOLDER).is_dir()


def is_shipped(path: str | os.PathLike) -> bool:
  """Whether a name means the model that comes with the package."""
  return os.fspath(path) == SHIPPED and not pathlib.Path(path).exists()


def place(path: str | os.PathLike) -> str | os.PathLike:
  """Where a model is: the name itself, but for `SHIPPED`."""
  if not is_shipped(path):
    return path
  return str(resources.files("unialign_jax") / "shapes" / "weights")


def _narrowed(params: Any, dtype: jnp.dtype) -> Any:
  """Parameters in the dtype that they are computed with, if it is smaller."""
  if dtype.itemsize >= 4:
    return params
  return jax.tree.map(lambda p: p.astype(dtype), params)


def _encoders(
  names: dict[str, str], dtype: jnp.dtype
) -> tuple[encoders_lib.TextEncoder, encoders_lib.ImageEncoder]:
  for key in ("text", "tokenizer", "image"):
    if not names.get(key):
      raise ValueError(
        f"encoders.{key}: got none, expected a folder or hub id; the model"
        f" names none, so give it one: Pipeline.load(..., {key}=FOLDER), or"
        f" --{key}=FOLDER."
      )
  text = encoders_lib.TextEncoder.load(
    names["text"],
    names["tokenizer"],
    mask_embedding=names.get("mask_embedding") or None,
    dtype=dtype,
    param_dtype=dtype,
  )
  # A small part of the work, and bfloat16 would show as rounded colours.
  return text, encoders_lib.ImageEncoder.load(names["image"])


def _check(
  model: mmdit.MMDiTConfig,
  text: encoders_lib.TextEncoder,
  image: encoders_lib.ImageEncoder,
) -> None:
  """Refuses encoders of another model, all misfits in one message."""
  problems = [
    f"{what}: the network has {want}, the encoders {got}"
    for what, want, got in (
      ("vocabulary", model.vocab_size, text.vocab_size),
      ("width of text features", model.text_dim, text.config.d_model),
      ("latent channels", model.in_channels, image.config.latent_channels),
    )
    if want != got
  ]
  if problems:
    raise ValueError(
      "The encoders are not those of the network; name others (text,"
      " tokenizer, image):\n  " + "\n  ".join(problems)
    )
