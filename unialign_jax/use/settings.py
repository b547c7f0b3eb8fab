"""How pictures are drawn and texts written: hashable, so static under jit."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from unialign_jax import config as config_lib
from unialign_jax.diffusion import flow
from unialign_jax.sampling import guidance as guidance_lib
from unialign_jax.sampling import text as text_sampling

# Few steps, or the most that can be had of a model; docs/sampling.md has what
# each reaches. Given as `preset`, and overridden by what is given beside it.
PRESETS = {
  "draft": {"solver": "dpmpp_2m", "steps": 4},
  "fast": {"solver": "dpmpp_2m", "steps": 8},
  "best": {"solver": "heun", "steps": 28},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings:
  """Of the image sampler; `sampling.image.sample_images` explains them.

  Attributes:
    size: side of the pictures in pixels.
    steps: of the solver.
    guidance: scale towards the text, 1 for none.
    image_guidance: a scale of its own towards the condition images; None
      leaves them in both halves of the guidance.
    shift: of the times, 1 for none.
    solver: one of `flow.SOLVERS`.
    guidance_rescale: 0 for none, up to 1.
    guidance_interval: (low, high), times at which guidance applies.
  """

  size: int
  steps: int
  guidance: float
  shift: float
  solver: str
  guidance_rescale: float = 0.0
  guidance_interval: tuple[float, float] = (0.0, 1.0)
  image_guidance: float | None = None

  def __post_init__(self) -> None:
    guidance_lib.check(
      self.guidance, self.guidance_rescale, self.guidance_interval
    )
    flow.timesteps(self.steps, self.shift)
    _one_of("solver", self.solver, tuple(flow.SOLVERS))

  def for_solver(self) -> dict[str, Any]:
    """Arguments of `sample_images` that are not those of `velocity`."""
    return {"steps": self.steps, "shift": self.shift, "solver": self.solver}

  def for_guidance(self) -> dict[str, Any]:
    """Arguments of `sampling.image.velocity`."""
    return {
      "guidance": self.guidance,
      "guidance_rescale": self.guidance_rescale,
      "guidance_interval": self.guidance_interval,
      "image_guidance": self.image_guidance,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings:
  """Of the text sampler; `sampling.text.sample_text` explains them.

  Attributes:
    steps: of unmasking.
    schedule: "ancestral" or "confidence".
    temperature: 0 takes the likeliest token.
  """

  steps: int
  schedule: str
  temperature: float

  def __post_init__(self) -> None:
    _one_of("schedule", self.schedule, text_sampling.SCHEDULES)
    if self.steps < 1 or self.temperature < 0:
      raise ValueError(
        f"text settings: got steps {self.steps}, temperature"
        f" {self.temperature}; expected steps >= 1 and temperature >= 0."
      )


def for_images(sample: config_lib.SampleConfig, size: int) -> ImageSettings:
  """The defaults that a run was sampled with."""
  return ImageSettings(size=size, **sample.for_images())


def for_texts(sample: config_lib.SampleConfig) -> TextSettings:
  """The defaults that a run was sampled with."""
  return TextSettings(**sample.for_texts())


def changed(defaults: Any, given: Mapping[str, Any]) -> Any:
  """Settings with what a caller gave; None leaves the default.

  Args:
    defaults: `ImageSettings` or `TextSettings`.
    given: values by name; for pictures also "preset", one of `PRESETS`.

  Raises:
    ValueError: a name that is none of the settings, or a value out of range.
  """
  if isinstance(defaults, ImageSettings):
    defaults, given = _preset(defaults, given)
  names = [field.name for field in dataclasses.fields(defaults)]
  for name in given:
    if name not in names:
      near = difflib.get_close_matches(name, names, n=1)
      hint = f"; did you mean {near[0]}?" if near else "."
      raise ValueError(f"{name}: got no setting, expected one of {names}{hint}")
  kept = {name: value for name, value in given.items() if value is not None}
  if "guidance_interval" in kept:
    kept["guidance_interval"] = tuple(kept["guidance_interval"])
  return dataclasses.replace(defaults, **kept)


def _preset(
  defaults: ImageSettings, given: Mapping[str, Any]
) -> tuple[ImageSettings, dict[str, Any]]:
  """Defaults with a preset on them, and what else was given."""
  rest = dict(given)
  name = rest.pop("preset", None)
  if name is None:
    return defaults, rest
  _one_of("preset", name, tuple(PRESETS))
  return dataclasses.replace(defaults, **PRESETS[name]), rest


def _one_of(name: str, got: str, known: tuple[str, ...]) -> None:
  if got not in known:
    raise ValueError(f"{name}: got {got!r}, expected one of {known}.")
