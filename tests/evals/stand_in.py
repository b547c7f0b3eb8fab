"""A stand-in for `Pipeline` where the network is not the point."""

import zlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from unialign_jax.use import requests
from unialign_jax.use import settings as settings_lib


class Clock:
  """Time that passes when it is told to."""

  def __init__(self) -> None:
    self.now = 0.0

  def monotonic(self) -> float:
    return self.now


def checksum(one: requests.Drawing) -> int:
  """Of all that a picture follows from."""
  data = [one.text, one.negative, str(one.seed)]
  data += [np.asarray(picture).tobytes().hex() for picture in one.pictures]
  return zlib.crc32("|".join(data).encode())


def noise(one: requests.Drawing) -> np.ndarray:
  """A picture of its own for each request."""
  rng = np.random.default_rng(checksum(one))
  return rng.integers(0, 256, (8, 8, 3), np.uint8)


class StandIn:
  """Draws and writes by rule, and remembers what it was asked.

  Args:
    paint: a request -> uint8 [H, W, 3].
    say: a request -> a text.
    batch_size: as `Pipeline` has it.
    size: of pictures.
    dies: the call of `draw` or `write`, from 1, in which Ctrl-C comes.
    clock: on which a batch takes as many seconds as a full one has rows, and
      a new form of batch another hundred.
  """

  def __init__(
    self,
    paint: Callable[[requests.Drawing], np.ndarray] = noise,
    say: Callable[[requests.Writing], str] = lambda one: one.question or "?",
    *,
    batch_size: int = 4,
    size: int = 8,
    dies: int | None = None,
    clock: Clock | None = None,
  ):
    self._paint, self._say = paint, say
    self._dies = dies
    self._clock = clock or Clock()
    self._forms: set[Any] = set()
    self.batch_size = batch_size
    self.image_settings = settings_lib.ImageSettings(
      size=size, steps=2, guidance=3.0, shift=1.0, solver="euler"
    )
    self.text_settings = settings_lib.TextSettings(
      steps=2, schedule="confidence", temperature=0.0
    )
    self.drawn: list[tuple[list[requests.Drawing], dict[str, Any]]] = []
    self.written: list[tuple[list[requests.Writing], int, dict[str, Any]]] = []

  @property
  def num_compiled(self) -> int:
    return len(self._forms)

  def draw(
    self, wanted: Sequence[requests.Drawing], **settings: Any
  ) -> list[Image.Image]:
    self.drawn.append((list(wanted), settings))
    self._work(("draw", len(wanted), len(wanted[0].pictures)))
    return [Image.fromarray(self._paint(one)) for one in wanted]

  def write(
    self, wanted: Sequence[requests.Writing], *, seed: int, **settings: Any
  ) -> list[str]:
    self.written.append((list(wanted), seed, settings))
    self._work(("write", len(wanted)))
    return [self._say(one) for one in wanted]

  def check_question(self, question: str) -> None:
    if len(question) > 100:
      raise ValueError("question: got a long one, expected a short one.")

  def _work(self, form: Any) -> None:
    if len(self.drawn) + len(self.written) == self._dies:
      raise KeyboardInterrupt
    self._clock.now += self.batch_size + 100 * (form not in self._forms)
    self._forms.add(form)
