"""Writes a run's weights as a folder for PyTorch.

  python -m unialign_jax.export --checkpoint=WORKDIR[@STEP] --out=DIR \\
    --target=diffusers|unialignment|dual_diffusion [--noema] [--dtype=bf16] \\
    [--encoders=copy|reference] [--text=...] [--tokenizer=...] [--image=...]

`diffusers` is a folder that generates, edits and captions by itself, without
JAX; the other two are transformers for the classes of their authors. See
docs/pytorch.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging

from unialign_jax import command_line
from unialign_jax.convert import encoder_folders
from unialign_jax.convert import export_folder
from unialign_jax.convert import model_card
from unialign_jax.convert import run_weights
from unialign_jax.convert import transformer_config

_CHECKPOINT = flags.DEFINE_string(
  "checkpoint", None, "Workdir of a run, or WORKDIR@STEP."
)
_OUT = flags.DEFINE_string("out", None, "Folder to write, new or empty.")
_TARGET = flags.DEFINE_enum(
  "target", None, transformer_config.TARGETS, "Who is to load the folder."
)
_EMA = flags.DEFINE_bool("ema", True, "The averaged weights, or the trained.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "fp32", list(export_folder.DTYPES), "Of the stored weights."
)
_ENCODERS = flags.DEFINE_enum(
  "encoders", "copy", encoder_folders.MODES, "T5, tokenizer, VAE in diffusers."
)
_NAMES = {
  key: flags.DEFINE_string(key, "", f"In place of config.encoders.{key}.")
  for key in ("text", "tokenizer", "image")
}
flags.mark_flags_as_required(["checkpoint", "out", "target"])


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  export_folder.check_unused(out)
  config, params, run, step = run_weights.read(
    _CHECKPOINT.value, ema=_EMA.value
  )
  named = {key: flag.value for key, flag in _NAMES.items() if flag.value}
  encoders = dataclasses.replace(config.encoders, **named)
  notes = export_folder.write(
    out,
    dataclasses.replace(config, encoders=encoders),
    params,
    model_card.Origin(
      run=run,
      step=step,
      weights="ema" if _EMA.value else "trained",
      dtype=export_folder.TORCH_NAMES[_DTYPE.value],
    ),
    target=_TARGET.value,
    dtype=_DTYPE.value,
    encoders=_ENCODERS.value,
  )
  for note in notes:
    print(f"before loading: {note}.")
  print(f"wrote {out}: step {step} of {run}, for {_TARGET.value}.")


def cli() -> None:
  """Runs `main`; what does not fit together is one message too."""
  command_line.run(main)


if __name__ == "__main__":
  cli()
