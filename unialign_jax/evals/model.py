"""The model that is evaluated, and what tells it from any other."""

import dataclasses
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import numpy as np

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.features import identity as identity_lib
from unialign_jax.use import compile_cache
from unialign_jax.use import loading


def load(
  model: Mapping[str, Any], *, step: int | None, ema: bool
) -> tuple[pipeline_lib.Pipeline, dict[str, Any]]:
  """The pipeline, and the identity of what runs in it.

  Args:
    model: arguments of `Pipeline.load`, of `command.define_model`.
    step: which checkpoint of a workdir; None for the latest.
    ema: its averaged weights, or the trained ones.

  Raises:
    ValueError: no model there, or one that does not fit its encoders.
  """
  compile_cache.enable()
  loaded = loading.load_all(
    model["path"],
    dtype=model["dtype"],
    step=step,
    ema=ema,
    encoders={key: model[key] for key in ("text", "tokenizer", "image")},
    quantize=model["quantize"],
  )
  told = identity(loaded)
  pipe = pipeline_lib.Pipeline(
    loaded, batch_size=model["batch_size"], framing=model["framing"]
  )
  return pipe, told


def identity(loaded: loading.Loaded) -> dict[str, Any]:
  """By what the pictures of a model are known: what is in it, not its place.

  A hash of the parameters takes 1 to 2 s a GB, and holds where a workdir has a
  newer checkpoint, or a folder of the same name other weights.
  """
  shape = dataclasses.asdict(loaded.model)
  digests = {
    jax.tree_util.keystr(path): identity_lib.tensor_digest(np.asarray(leaf))
    for path, leaf in jax.tree_util.tree_leaves_with_path(loaded.params)
  }
  return {
    "network": identity_lib.of(shape, digests),
    "text_encoder": loaded.text.identity,
    "vae": loaded.image.identity,
    "text_length": loaded.text_length,
    "dtype": str(loaded.model.dtype),
    "quantize": loaded.quantize,
  }


def noted(model: Mapping[str, Any]) -> dict[str, Any]:
  """What is worth knowing of a run, and may change from one to the next."""
  return {
    "model": model["path"],
    "batch_size": model["batch_size"],
    "unialign_jax": metadata.version("unialign_jax"),
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
  }
