"""What a server allows, and what it does where a request does not say."""

import dataclasses

from unialign_jax.use import settings as settings_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
  """What this server allows, and what it does where nobody says.

  Attributes:
    name: of the model, as clients ask for it.
    framing: how pictures become squares.
    image: settings of pictures.
    text: settings of texts.
    several_images: one of `several.POLICIES`, for texts.
    truncate: whether long texts are cut, and the reply says so, or refused.
    answer_tokens: kept for an answer when a question is too long.
    max_pixels: of a picture.
    read_side: pixels of a picture that is asked about.
    unit: pixels; sides of pictures that are drawn are multiples of it.
    max_side: pixels of a picture that is drawn.
    max_steps: of the solver.
    max_pictures: of one request.
    max_settings: that stay compiled at once.
    timeout: seconds that a request may take.
  """

  name: str
  framing: str
  image: settings_lib.ImageSettings
  text: settings_lib.TextSettings
  several_images: str
  truncate: bool
  answer_tokens: int
  max_pixels: int
  read_side: int
  unit: int
  max_side: int
  max_steps: int
  max_pictures: int
  max_settings: int
  timeout: float

  def __post_init__(self) -> None:
    for name, value, most in (
      ("size", self.image.size, self.max_side),
      ("steps", self.image.steps, self.max_steps),
    ):
      if value > most:
        raise ValueError(
          f"--{name}: got {value}, which is what pictures have by default, and"
          f" at most {most} for clients; raise --max_side or --max_steps."
        )
