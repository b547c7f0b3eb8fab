"""What PyTorch begins with: weights, batch and draws of the JAX step, as files.

weights.safetensors   the network, by PyTorch's names
batch.safetensors     text features, masks and targets of the batch
draw-0.safetensors    what `objective.draw` settles for step 0, and so on
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from unialign_jax import config as config_lib
from unialign_jax.bench import jax_step
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import transformer_config
from unialign_jax.training import objective as objective_lib

WEIGHTS = "weights.safetensors"
BATCH = "batch.safetensors"
DRAW = "draw-{}.safetensors"
_TARGET = "diffusers"


def check(config: config_lib.Config) -> None:
  """Refuses what the PyTorch step does not have.

  Raises:
    ValueError: naming the keys.
  """
  loss = config.loss
  wrong = [
    f"config.{key}: got {got!r}, expected {expected!r}"
    for key, got, expected in (
      ("data.text_features", config.data.text_features, "stored"),
      ("loss.flow_space", loss.flow_space, "velocity"),
      ("loss.cross_direction", loss.cross_direction, "both"),
      ("loss.cross_group_size", loss.cross_group_size, 0),
      ("loss.intrinsic_form", loss.intrinsic_form, "one_minus_cosine"),
      ("loss.intrinsic_image", loss.intrinsic_image, "mean"),
      ("optimizer.schedule", config.optimizer.schedule, "constant"),
      ("optimizer.trainable", config.optimizer.trainable, (".*",)),
      ("optimizer.working_dtype", config.optimizer.working_dtype, "float32"),
      ("train.accumulation", config.train.accumulation, 1),
      ("model.remat", config.model.remat, "none"),
    )
    if got != expected
  ]
  if wrong:
    raise ValueError(
      "--against=torch: the step in PyTorch has one form only;\n  "
      + "\n  ".join(wrong)
    )
  transformer_config.describe(config.model, _TARGET)


def write(
  config: config_lib.Config, num_cond: int, folder: pathlib.Path
) -> None:
  """Writes the files; in a fresh process.

  The weights, the batch and the draws are those of `jax_step.measure`.
  """
  made = jax_step.parts(config, num_cond)
  state = jax_step.stirred(made.program)
  weights = mapping.to_torch(
    mmdit_table.rules(config.model), jax.device_get(state.params)
  )
  weights |= mmdit_table.buffers(config.model)
  safetensors.numpy.save_file(weights, folder / WEIGHTS)

  settle = jax.jit(
    lambda batch, step: objective_lib.draw(
      batch,
      config.diffusion,
      seed=config.seed,
      step=step,
      mask_id=config.data.mask_id,
    )
  )
  null = jax.device_get(made.frozen.null_text_LE)
  for step in range(jax_step.WARM_UP):
    drawn = settle(made.batch, jnp.int32(step))
    _save(folder / DRAW.format(step), _drawn(drawn))
  _save(folder / BATCH, _batch(drawn) | {"null_text": null})


def describe(config: config_lib.Config) -> dict[str, Any]:
  """Arguments of the transformer's class."""
  described = transformer_config.describe(config.model, _TARGET)
  return {k: v for k, v in described.items() if not k.startswith("_")}


def _drawn(drawn: objective_lib.Draw) -> dict[str, Any]:
  """What changes from step to step, pictures channels first."""
  return {
    "latents": _channels_first(drawn.latents_BHWC),
    "eps": _channels_first(drawn.eps_BHWC),
    "t": drawn.t_B,
    "is_dropped": drawn.is_dropped_B,
  }


def _batch(drawn: objective_lib.Draw) -> dict[str, Any]:
  """What stays: the masks of stored features come with the record."""
  record = drawn.record
  fields = {
    "prompt_features": record["prompt_features"],
    "masked_features": record["masked_features"],
    "caption_ids": np.asarray(record["caption_ids"], np.int64),
    "is_masked": drawn.is_masked_BL,
    "text_t": drawn.text_t_B,
    "h_image": record["h_image"].astype(jnp.float32),
    "h_text": record["h_text"].astype(jnp.float32),
  }
  if "cond_latents" in record:
    cond = record["cond_latents"].astype(jnp.float32)
    fields["cond_latents"] = _channels_first(cond)
  return fields


def _channels_first(x: Any) -> np.ndarray:
  return np.moveaxis(np.asarray(x), -1, -3)


def _save(path: pathlib.Path, arrays: dict[str, Any]) -> None:
  # safetensors writes memory as it lies.
  whole = {
    k: np.ascontiguousarray(jax.device_get(v)) for k, v in arrays.items()
  }
  safetensors.numpy.save_file(whole, path)
