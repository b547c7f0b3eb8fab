"""The flags of the server that say what it allows."""

import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from absl import flags

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.sampling import text as text_sampling
from unialign_jax.serving import policy as policy_lib
from unialign_jax.use import command
from unialign_jax.use import loading
from unialign_jax.use import long_questions
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import several

_Make = Callable[
  [Mapping[str, Any], loading.Loaded, pipeline_lib.Pipeline], policy_lib.Policy
]


def define() -> _Make:
  """Defines the flags.

  Returns:
    What gives the policy once flags are parsed, of the model's own flags
    (`command.define_model`) and the model.
  """
  image_settings = command.define_image_settings()
  number, whole = flags.DEFINE_float, flags.DEFINE_integer
  text_settings = {
    "steps": whole("text_steps", None, "Of unmasking.", 1),
    "schedule": flags.DEFINE_enum(
      "text_schedule", None, text_sampling.SCHEDULES, "Order of unmasking."
    ),
    "temperature": number(
      "temperature", None, "Of texts; 0 takes the likeliest token.", 0
    ),
  }
  name = flags.DEFINE_string(
    "name", "", "Of the model for clients; by default the end of --model."
  )
  several_images = flags.DEFINE_enum(
    "several_images", "refuse", several.POLICIES, "Of one question."
  )
  truncate = flags.DEFINE_bool(
    "truncate", False, "Cut long texts, and say so, in place of refusing them."
  )
  answer_tokens = whole(
    "answer_tokens", None, "Kept for an answer to a cut question.", 1
  )
  pixels = number("max_megapixels", 16, "Of a picture that comes.", 0.001)
  side = whole("max_side", None, "Of drawn pictures; by default --size.", 1)
  steps = whole("max_steps", 100, "Of the solver.", 1)
  pictures = whole("max_pictures", 8, "Of one request.", 1)
  kept = whole("max_settings", 32, "That stay compiled at once.", 1)
  timeout = number("timeout", 600, "Seconds for a request.", 0.001)

  def make(
    model: Mapping[str, Any],
    loaded: loading.Loaded,
    pipe: pipeline_lib.Pipeline,
  ) -> policy_lib.Policy:
    image = settings_lib.changed(pipe.image_settings, image_settings())
    texts = {name: flag.value for name, flag in text_settings.items()}
    length = pipe.texts.length
    unit = loaded.image.config.downsampling * loaded.model.patch_size
    _check("max_side", side.value, unit * loaded.model.pos_embed_size)
    _check("answer_tokens", answer_tokens.value, length - 2)
    return policy_lib.Policy(
      name=name.value or pathlib.Path(model["path"]).absolute().name,
      framing=model["framing"],
      image=image,
      text=settings_lib.changed(pipe.text_settings, texts),
      several_images=several_images.value,
      truncate=truncate.value,
      answer_tokens=answer_tokens.value or long_questions.default_room(length),
      max_pixels=int(pixels.value * 1e6),
      read_side=pipe.image_settings.size,
      unit=unit,
      max_side=side.value or image.size,
      max_steps=steps.value,
      max_pictures=pictures.value,
      max_settings=kept.value,
      timeout=timeout.value,
    )

  return make


def _check(name: str, value: int | None, most: int) -> None:
  """Refuses more than a model has.

  Raises:
    ValueError: naming the flag.
  """
  if value is not None and value > most:
    raise ValueError(
      f"--{name}: got {value}, expected at most {most} for this model."
    )
