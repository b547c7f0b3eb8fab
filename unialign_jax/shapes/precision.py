"""What low precision costs and saves, on the Shapes world.

  python -m unialign_jax.shapes.precision --model=shapes [--layers]

has every form of the model (float32 and bfloat16; as they are, int8, fp8) draw
the same held-out prompts from the same noise, and write the same captions and
answers; the verifier scores all of it. With --layers: the error of each kind of
layer instead. Prints a Markdown table.
"""

from collections.abc import Sequence

from absl import app
from absl import flags

from unialign_jax.shapes import by_layer
from unialign_jax.shapes import by_precision
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import command
from unialign_jax.use import loading

_model = command.define_model()
_EXAMPLES = flags.DEFINE_integer(
  "examples", 128, "Prompts and captions; thrice as many questions.", 1
)
_LAYERS = flags.DEFINE_bool("layers", False, "Errors by layer, not scores.")


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  exam = exam_lib.make(_EXAMPLES.value, 1, feature_sets.WORLD)
  if _LAYERS.value:
    full, half = _load("float32", None), _load("bfloat16", None)
    print(by_layer.table(full, half, exam))
  else:
    print(by_precision.table(_load, exam, _model()["batch_size"]))


def _load(dtype: str, quantize: str | None) -> loading.Loaded:
  model = _model()
  return loading.load_all(
    model["path"],
    dtype=dtype,
    step=None,
    ema=True,
    encoders={key: model[key] for key in ("text", "tokenizer", "image")},
    quantize=quantize,
  )


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
