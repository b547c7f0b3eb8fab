"""What both command lines share: the model's flags, and how they end."""

import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from absl import app
from absl import flags
from absl import logging

from unialign_jax import interrupts
from unialign_jax.data.sources import framing
from unialign_jax.diffusion import flow
from unialign_jax.use import quantise
from unialign_jax.use import settings

_INTERRUPTED = 130  # as a shell has it after Ctrl-C


class Broken(Exception):
  """Some of the work could not be done; each piece has been named."""


def define_model(
  default: str | None = None,
) -> Callable[[], dict[str, Any]]:
  """Defines the flags that say which model, and how it runs.

  Args:
    default: the model where none is named; None asks for one.

  Returns:
    What gives the arguments of `Pipeline.load`, once flags are parsed.
  """
  holders = {
    "path": flags.DEFINE_string(
      "model",
      default,
      'Workdir, exported folder or hub id; "shapes" comes with the package.',
      required=default is None,
    ),
    "dtype": flags.DEFINE_enum(
      "dtype", None, ["float32", "bfloat16"], "Of the networks."
    ),
    "quantize": flags.DEFINE_enum(
      "quantize", None, list(quantise.TYPES), "Large products in low precision."
    ),
    "batch_size": flags.DEFINE_integer(
      "batch_size", 8, "Examples that run at once.", lower_bound=1
    ),
    "framing": flags.DEFINE_enum(
      "framing", "crop", framing.POLICIES, "How pictures become squares."
    ),
    "text": flags.DEFINE_string(
      "text_encoder", "", "Folder or hub id of T5, if not the model's own."
    ),
    "tokenizer": flags.DEFINE_string(
      "tokenizer", "", "Folder or hub id of its tokenizer."
    ),
    "image": flags.DEFINE_string("vae", "", "Folder or hub id of the VAE."),
  }
  return lambda: {key: holder.value for key, holder in holders.items()}


def define_image_settings() -> Callable[[], dict[str, Any]]:
  """Defines the flags of the image sampler, for `settings.changed`.

  Returns:
    What gives the settings by name once flags are parsed; None where a flag
    is not given.
  """
  number, whole, choice = (
    flags.DEFINE_float,
    flags.DEFINE_integer,
    flags.DEFINE_enum,
  )
  holders = {
    "size": whole("size", None, "Side in pixels.", 1),
    "steps": whole("steps", None, "Of the solver.", 1),
    "guidance": number("guidance", None, "Scale, 1 for none."),
    "shift": number("shift", None, "Of the times, 1 for none."),
    "preset": choice(
      "preset", None, list(settings.PRESETS), "Solver and steps together."
    ),
    "solver": choice("solver", None, list(flow.SOLVERS), "Of the flow."),
    "guidance_rescale": number("guidance_rescale", None, "0 to 1."),
    "image_guidance": number(
      "image_guidance", None, "Scale towards the condition images."
    ),
  }
  return lambda: {key: holder.value for key, holder in holders.items()}


def recorded(model: Mapping[str, Any]) -> dict[str, Any]:
  """What results say of the model that made them.

  Args:
    model: arguments of `Pipeline.load`, of `define_model`.
  """
  return {"model": model["path"], "quantize": model["quantize"]}


def report(name: str, error: Exception) -> None:
  """Names a piece of work that cannot be done; the rest goes on."""
  print(f"skipped {name}: {error}", file=sys.stderr)


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs a command; what cannot work is one message and status 1."""

  def quiet(argv: Sequence[str]) -> None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.ERROR)
    main(argv)

  interrupts.keep()
  try:
    app.run(quiet)
  except ValueError as error:
    sys.exit(f"error: {error}")
  except Broken as error:
    sys.exit(str(error))
  except KeyboardInterrupt:
    print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(_INTERRUPTED)
