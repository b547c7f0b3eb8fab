"""Published weights as a folder that a run starts from and samplers read.

  python -m unialign_jax.import_weights --source=sd3 --path=FOLDER --out=OUT \\
    [--fold-pooled=FOLDER] [--dtype=float32]
  python -m unialign_jax.train --config.train.init_from=OUT ...

Sources: sd3, sd35, dual_diffusion, unialignment. --path is a pipeline's folder
or its transformer's, a hub id of either, or SD3's single file with its
original names. docs/weights.md tells more.
"""

from collections.abc import Sequence

from absl import app
from absl import flags

from unialign_jax import command_line
from unialign_jax.convert import import_folder
from unialign_jax.convert import importing
from unialign_jax.convert import sources

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


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  imported = import_folder.run(
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


def cli() -> None:
  """Runs `main`; what does not fit together is one message."""
  command_line.run(main)


if __name__ == "__main__":
  cli()
