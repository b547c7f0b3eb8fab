"""/v1/images/generations and /v1/images/edits: pictures of texts and pictures.

An edit with several pictures is personalisation; an instruction such as
"estimate the depth" makes a map. The model is told by words alone.
"""

import base64
import dataclasses
import re
import secrets
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.data.sources import framing
from unialign_jax.diffusion import flow
from unialign_jax.serving import chat
from unialign_jax.serving import engine as engine_lib
from unialign_jax.serving import errors
from unialign_jax.serving import fields as fields_lib
from unialign_jax.serving import media
from unialign_jax.serving import policy as policy_lib
from unialign_jax.use import outputs
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import texts as texts_lib

MAX_CONDITIONS = 4  # condition images
_MAX_SEED = 2**32 - 1
_MAX_TEXT = 2**15  # characters
_MAX_GUIDANCE = 100
_NEUTRAL = {
  "response_format": ("b64_json",),
  "output_format": ("png",),
  "output_compression": (100,),
  "quality": ("auto",),
  "background": ("auto", "opaque"),
  "moderation": ("auto", "low"),
  "input_fidelity": (),
  "style": (),
  "partial_images": (0,),
  "stream": (False,),
}
_IGNORED = ("user",)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
  """Pictures that are wanted, without what they are made from.

  Attributes:
    text: prompt or instruction.
    negative: what guidance leads away from.
    count: of pictures, of the seeds from `seed` on.
    seed: of the first.
    settings: of the sampler.
    notes: what became of the request, for the reply.
  """

  text: str
  negative: str
  count: int
  seed: int
  settings: settings_lib.ImageSettings
  notes: tuple[str, ...]

  def key(self, num_pictures: int) -> engine_lib.Draw:
    return engine_lib.Draw(self.settings, num_pictures)

  def drawings(
    self, pictures: Sequence[np.ndarray] = ()
  ) -> list[pipeline_lib.Drawing]:
    """What the model is asked for."""
    return [
      pipeline_lib.Drawing(
        text=self.text,
        pictures=tuple(pictures),
        negative=self.negative,
        seed=self.seed + k,
      )
      for k in range(self.count)
    ]


def read(
  values: Mapping[str, Any],
  policy: policy_lib.Policy,
  texts: texts_lib.Texts,
  *,
  is_form: bool,
) -> Asked:
  """A request of either route, without its pictures.

  Raises:
    errors.ApiError: it is none, or asks for what this model cannot do.
  """
  given = fields_lib.Fields(values, is_form=is_form)
  chat.check_model(given.text("model", policy.name), policy.name)
  for name, allowed in _NEUTRAL.items():
    given.only(name, *allowed)
  given.ignore(*_IGNORED)
  text = given.text("prompt").strip()
  if not text:
    raise errors.bad(
      "prompt: got an empty one, expected words.", param="prompt"
    )
  negative = given.text("negative_prompt", "").strip()
  may_cut = given.flag("truncate", policy.truncate)
  notes = []
  for name, words in (("prompt", text), ("negative_prompt", negative)):
    notes += _check(texts, name, words, may_cut)
  count = given.whole("n", 1, 1, policy.max_pictures)
  last = _MAX_SEED - count + 1
  seed = given.whole("seed", None, 0, last)
  asked = Asked(
    text=text,
    negative=negative,
    count=count,
    seed=secrets.randbelow(last + 1) if seed is None else seed,
    settings=_settings(given, policy),
    notes=tuple(notes),
  )
  given.done()
  return asked


def conditions(
  files: Sequence[bytes], asked: Asked, policy: policy_lib.Policy
) -> list[np.ndarray]:
  """Condition images as the network sees them; slow.

  Args:
    files: 1 to `MAX_CONDITIONS`.
    asked: what is to be made of them.
    policy: of this server.

  Returns:
    Each uint8 [side, side, 3].

  Raises:
    errors.ApiError: too few or many, or a broken one.
  """
  if not 1 <= len(files) <= MAX_CONDITIONS:
    raise errors.bad(
      f"image: got {len(files)} files, expected 1 to {MAX_CONDITIONS}.",
      param="image",
    )
  squares = []
  for data in files:
    shown = media.from_bytes(data, policy.max_pixels, "image")
    squares += framing.frame([shown], asked.settings.size, policy.framing)
  return squares


def reply(
  asked: Asked,
  drawn: Sequence[Image.Image],
  *,
  task: str,
  model: str,
) -> dict[str, Any]:
  """The pictures in base64, each a PNG that says what made it; slow."""
  side = asked.settings.size
  data = []
  for k, image in enumerate(drawn):
    made_by = {
      "task": task,
      "text": asked.text,
      "negative": asked.negative,
      "seed": asked.seed + k,
      "model": model,
      **dataclasses.asdict(asked.settings),
    }
    encoded = base64.b64encode(outputs.png(image, made_by)).decode("ascii")
    data.append({"b64_json": encoded, "seed": asked.seed + k})
  return {
    "created": int(time.time()),
    "data": data,
    "size": f"{side}x{side}",
    "output_format": "png",
    "background": "opaque",
    "unialign_notes": list(asked.notes),
  }


def _check(
  texts: texts_lib.Texts, name: str, words: str, may_cut: bool
) -> list[str]:
  """Notes on a text that the model does not read to its end."""
  if len(words) > _MAX_TEXT:
    raise errors.bad(
      f"{name}: got {len(words)} characters, expected at most {_MAX_TEXT}.",
      param=name,
      code="context_length_exceeded",
    )
  try:
    texts.check(words)
  except ValueError as error:
    raise errors.bad(f"{name}: {error}", param=name) from None
  message = texts.truncation(words)
  if message and not may_cut:
    raise errors.bad(
      f"{name}: {message}; shorten it. The field truncate has it cut off.",
      param=name,
      code="context_length_exceeded",
    )
  return [f"{name}: {message}"] if message else []


def _settings(
  given: fields_lib.Fields, policy: policy_lib.Policy
) -> settings_lib.ImageSettings:
  wanted = {
    "preset": given.choice("preset", list(settings_lib.PRESETS)),
    "size": _side(given.take("size"), policy),
    "steps": given.whole("steps", None, 1, policy.max_steps),
    "solver": given.choice("solver", list(flow.SOLVERS)),
    "guidance": given.number("guidance", 0, _MAX_GUIDANCE),
    "image_guidance": given.number("image_guidance", 0, _MAX_GUIDANCE),
    "guidance_rescale": given.number("guidance_rescale", 0, 1),
    "shift": given.number("shift", 0.01, 100),
  }
  try:
    return settings_lib.changed(policy.image, wanted)
  except ValueError as error:
    raise errors.bad(str(error)) from None


def _side(size: Any, policy: policy_lib.Policy) -> int | None:
  """Pixels of the side of "WxH"; None for the model's own."""
  if size in (None, "auto"):
    return None
  found = isinstance(size, str) and re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
  side = int(found[1]) if found and found[1] == found[2] else 0
  unit = policy.unit
  if not 0 < side <= policy.max_side or side % unit:
    most = policy.max_side // unit * unit
    raise errors.bad(
      f"size: got {str(size)[:40]!r}, expected 'auto' or a square like"
      f" '{policy.image.size}x{policy.image.size}', of sides that are multiples"
      f" of {unit} up to {most}.",
      param="size",
    )
  return side
