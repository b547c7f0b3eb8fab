"""The model behind the server: what a row is, and how a batch of them runs."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.use import settings as settings_lib

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Draw:
  """What pictures of one batch have in common."""

  settings: settings_lib.ImageSettings
  num_pictures: int  # condition images of each


@dataclasses.dataclass(frozen=True)
class Write:
  """What texts of one batch have in common."""

  settings: settings_lib.TextSettings
  seed: int


class Engine:
  """Runs batches; one thread alone may call it.

  Args:
    pipe: the model.
    max_settings: different settings that stay compiled; one more, and all
      compiled functions are dropped from memory.
  """

  def __init__(self, pipe: pipeline_lib.Pipeline, max_settings: int):
    self._pipe = pipe
    self._max_settings = max_settings
    self._seen: set[Draw | Write] = set()

  def run(self, key: Draw | Write, rows: Sequence[Any]) -> list[Any]:
    """Pictures of `Drawing`s, or `Written`s of `Writing`s.

    Raises:
      ValueError: rows or settings that the model cannot do.
    """
    self._remember(key)
    named = dataclasses.asdict(key.settings)
    if isinstance(key, Draw):
      return self._pipe.draw(rows, **named)
    return self._pipe.write_full(rows, seed=key.seed, **named)

  def warm_up(
    self, text: settings_lib.TextSettings, image: settings_lib.ImageSettings
  ) -> None:
    """Compiles captions and pictures without conditions, of every batch size.

    Args:
      text: settings of the captions.
      image: settings of the pictures.
    """
    write, draw = Write(text, 0), Draw(image, 0)
    side = self._pipe.image_settings.size
    white = np.full((side, side, 3), 255, np.uint8)
    size = 1
    while True:
      size = min(size, self._pipe.batch_size)
      self.run(write, [pipeline_lib.Writing(white)] * size)
      self.run(draw, [pipeline_lib.Drawing(text="a")] * size)
      if size == self._pipe.batch_size:
        return
      size *= 2

  def _remember(self, key: Draw | Write) -> None:
    """Bounds what stays compiled: settings are constants of what compiles."""
    # A seed is an argument, not a constant.
    is_text = isinstance(key, Write)
    compiled = dataclasses.replace(key, seed=0) if is_text else key
    if compiled not in self._seen and len(self._seen) >= self._max_settings:
      _log.warning("%d settings are compiled; all are dropped", len(self._seen))
      jax.clear_caches()
      self._seen.clear()
    self._seen.add(compiled)
