"""Quality of a model by solver and number of steps, on the Shapes world.

  python -m unialign_jax.shapes.steps --model=shapes --out=runs/steps

draws the same held-out prompts from the same noise with every solver and
number of steps, and writes their captions and answers with every schedule;
the verifier scores all of it. Prints Markdown tables, and writes them with a
picture to OUT.
"""

import pathlib
from collections.abc import Sequence

from absl import app
from absl import flags
from PIL import Image

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.shapes import by_steps
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import command

_model = command.define_model()
_OUT = flags.DEFINE_string("out", "runs/steps", "Folder of the files.")
_EXAMPLES = flags.DEFINE_integer(
  "examples", 128, "Prompts and captions; thrice as many questions.", 1
)


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  out = pathlib.Path(_OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  pipe = pipeline_lib.Pipeline.load(**_model())
  exam = exam_lib.make(_EXAMPLES.value, 1, feature_sets.WORLD)
  table, picture = by_steps.images(pipe, exam)
  text = f"{table}\n\n{by_steps.texts(pipe, exam)}\n"
  (out / "steps.md").write_text(text)
  Image.fromarray(picture).save(out / "steps.png")
  print(text)


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
