"""A trained run as a folder for PyTorch: whole, or not there at all.

  README.md                      the model card
  transformer/                   config.json and safetensors
and for diffusers
  model_index.json, unialignment_pipeline.py
  transformer/unialignment_transformer.py
  scheduler/ vae/ text_encoder_3/ tokenizer_3/
"""

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax.convert import encoder_folders
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import model_card
from unialign_jax.convert import shards
from unialign_jax.convert import transformer_config
from unialign_jax.models import mmdit

STEM = "diffusion_pytorch_model"
DTYPES = {
  "fp32": np.dtype(np.float32),
  "bf16": np.dtype(ml_dtypes.bfloat16),
  "fp16": np.dtype(np.float16),
}
TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_CODE = pathlib.Path(__file__).parent / "pytorch"
_PIPELINE = "unialignment_pipeline"
_TRANSFORMER = "unialignment_transformer"
_DIFFUSERS_VERSION = "0.42.1"  # that the tests load the folder with


def check_unused(out: pathlib.Path) -> None:
  """Refuses a folder in use.

  Raises:
    ValueError: it exists and is not an empty folder.
  """
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(
      f"--out: {out} is in use, expected a new or empty folder; name another."
    )


@contextlib.contextmanager
def whole_or_nothing(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to fill, which becomes `out` when all went well.

  Raises:
    ValueError: `out` is in use.
  """
  check_unused(out)
  out.parent.mkdir(parents=True, exist_ok=True)
  # Beside `out`, because only there a rename is one step.
  folder = pathlib.Path(
    tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)
  )
  try:
    yield folder
    folder.chmod(0o755)  # mkdtemp's are for their owner alone
    folder.rename(out)
  except BaseException:
    shutil.rmtree(folder)
    raise


def write(
  out: pathlib.Path,
  config: config_lib.Config,
  params: Any,
  origin: model_card.Origin,
  *,
  target: str,
  dtype: str = "fp32",
  encoders: str = "copy",
  max_bytes: int = shards.MAX_BYTES,
) -> list[str]:
  """Writes a folder.

  Args:
    out: a new or empty folder.
    config: of the run.
    params: of the network, host or device arrays.
    origin: of the weights.
    target: one of `transformer_config.TARGETS`.
    dtype: a key of `DTYPES`.
    encoders: for "diffusers", one of `encoder_folders.MODES`.
    max_bytes: of the tensors in one file.

  Returns:
    What must be known before the folder is loaded; also in the model card.

  Raises:
    ValueError: the folder is in use, the weights are not those of the config
      or not finite, the target cannot hold them, or an encoder is missing.
  """
  described = transformer_config.describe(config.model, target)
  notes = transformer_config.notes(config.model, target)
  leaves = _exported(config.model, params, target)
  with whole_or_nothing(out) as folder:
    (folder / "transformer").mkdir()
    _write_json(folder / "transformer/config.json", described)
    if target == "diffusers":
      _write_pipeline(folder, config, origin.dtype, encoders)
    card = model_card.write(
      config,
      origin,
      target=target,
      num_parameters=sum(leaf.size for leaf in leaves.values()),
      notes=notes,
    )
    (folder / "README.md").write_text(card)
    shards.write(
      folder / "transformer",
      STEM,
      _tensors(config.model, leaves, DTYPES[dtype]),
      metadata=origin.metadata(),
      max_bytes=max_bytes,
    )
  return notes


def _exported(
  config: mmdit.MMDiTConfig, params: Any, target: str
) -> dict[str, Any]:
  """The leaves by path that the target has, if all are what they should be."""
  abstract = mmdit.abstract_params(config)
  wanted = flax.traverse_util.flatten_dict(abstract, sep="/")
  leaves = flax.traverse_util.flatten_dict(params, sep="/")
  problems = [
    f"{path}: got {getattr(leaves.get(path), 'shape', 'nothing')}, expected"
    f" {getattr(wanted.get(path), 'shape', 'nothing')}"
    for path in sorted({*wanted, *leaves})
    if path not in wanted
    or path not in leaves
    or wanted[path].shape != leaves[path].shape
  ]
  if problems:
    raise ValueError(
      "The weights are not those of the network that config.json of the run"
      " describes; restore the checkpoint or that file:\n  "
      + "\n  ".join(problems)
    )
  if target == "dual_diffusion":
    return {p: x for p, x in leaves.items() if not p.startswith("align_")}
  return leaves


def _tensors(
  config: mmdit.MMDiTConfig, leaves: dict[str, Any], dtype: np.dtype
) -> Iterator[tuple[str, np.ndarray]]:
  """PyTorch names and tensors; one leaf after the other is on the host."""
  rules = mmdit_table.rules(config)
  for path, leaf in leaves.items():
    one = flax.traverse_util.unflatten_dict({path: leaf}, sep="/")
    for name, tensor in mapping.to_torch(rules, one).items():
      with np.errstate(over="ignore"):  # told below, with the name
        stored = tensor.astype(dtype, copy=False)
      if not np.isfinite(stored).all():
        raise ValueError(
          f"{name}: got numbers that are not finite in {dtype}, expected none;"
          " choose another --dtype, or an earlier step of the run."
        )
      yield name, stored
  for name, table in mmdit_table.buffers(config).items():
    yield name, table.astype(dtype, copy=False)


def _write_pipeline(
  folder: pathlib.Path, config: config_lib.Config, dtype: str, encoders: str
) -> None:
  """All that diffusers' `DiffusionPipeline` needs beside the transformer."""
  if encoders == "copy":
    encoder_folders.copy(folder, config.encoders, dtype)
    parts = {
      "vae": ["diffusers", "AutoencoderKL"],
      "text_encoder_3": ["transformers", "T5EncoderModel"],
      "tokenizer_3": ["transformers", "PreTrainedTokenizerFast"],
    }
    references = None
  else:
    references = encoder_folders.references(config.encoders)
    parts = {name: [None, None] for name in references}
  copy_code(folder)
  _write_index(folder, config, parts, references)


def copy_code(folder: pathlib.Path) -> None:
  """Puts the PyTorch files where diffusers looks: beside what they read."""
  shutil.copyfile(_CODE / f"{_PIPELINE}.py", folder / f"{_PIPELINE}.py")
  code = f"{_TRANSFORMER}.py"
  shutil.copyfile(_CODE / code, folder / "transformer" / code)


def _write_index(
  folder: pathlib.Path,
  config: config_lib.Config,
  parts: dict[str, Any],
  references: dict[str, dict[str, str]] | None,
) -> None:
  """model_index.json and the scheduler, with the settings of the run."""
  scheduler = "FlowMatchEulerDiscreteScheduler"
  version = {"_diffusers_version": _DIFFUSERS_VERSION}
  (folder / "scheduler").mkdir()
  _write_json(
    folder / "scheduler/scheduler_config.json",
    {
      "_class_name": scheduler,
      **version,
      "num_train_timesteps": 1000,
      "shift": config.sample.shift,
    },
  )
  _write_json(
    folder / "model_index.json",
    {
      "_class_name": [_PIPELINE, "UniAlignmentPipeline"],
      **version,
      "transformer": [_TRANSFORMER, transformer_config.CLASSES["diffusers"]],
      "scheduler": ["diffusers", scheduler],
      **parts,
      "resolution": config.data.resolution,
      "text_length": config.data.text_length,
      "steps": config.sample.steps,
      "guidance": config.sample.guidance,
      "text_steps": config.sample.text_steps,
      "text_schedule": config.sample.text_schedule,
      "text_temperature": config.sample.text_temperature,
      "references": references,
    },
  )


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  path.write_text(json.dumps(content, indent=2) + "\n")
