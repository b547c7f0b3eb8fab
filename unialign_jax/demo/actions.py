"""What a click on the page does: requests to the pipeline, shown on their way.

What a person gave wrongly comes back as `gradio.Error`, which the page shows.
Pictures arrive as names of files that were uploaded; nothing else about them
is believed. A field that was never touched arrives as None.
"""

import contextlib
import dataclasses
import pathlib
import secrets
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.use import outputs
from unialign_jax.use import settings as settings_lib

_MAX_SEED = 2**32 - 1
# (picture or file, seed, what is going on)
Shown = tuple[Image.Image | str, int, str]
Draw = Callable[..., Iterator[Shown]]


class Actions:
  """The model behind the page.

  Args:
    pipe: the model.
    name: what to call it in the metadata of pictures.
    max_pixels: of an uploaded picture.
  """

  def __init__(
    self, pipe: pipeline_lib.Pipeline, name: str, max_pixels: int
  ) -> None:
    self._pipe = pipe
    self._name = name
    self._max_pixels = max_pixels

  def draw(
    self,
    task: str,
    text: str | None,
    files: Sequence[str | None],
    *,
    negative: str | None,
    seed: float | None,
    is_random: bool,
    **settings: Any,
  ) -> Iterator[Shown]:
    """One picture, shown while it appears out of the noise.

    Yields:
      Previews, and last the name of a PNG with the settings that made it.

    Raises:
      gradio.Error: no text, a broken picture, settings out of range.
    """
    text, negative = (text or "").strip(), negative or ""
    with _explained():
      if not text:
        raise ValueError(f"{task}: got no text, expected some words.")
      for words in (text, negative):
        if message := self._pipe.texts.truncation(words):
          gr.Warning(message)
      seed = secrets.randbelow(_MAX_SEED) if is_random else _seed(seed)
      shown = [self._read(file) for file in files]
      chosen = settings_lib.changed(self._pipe.image_settings, settings)
      wanted = pipeline_lib.Drawing(
        text=text, pictures=shown, negative=negative, seed=seed
      )
      start = time.monotonic()
      for one in self._pipe.watch(wanted, **dataclasses.asdict(chosen)):
        yield one.picture, seed, f"step {one.step} of {one.steps}"
      seconds = time.monotonic() - start
      made_by = {
        "task": task,
        "text": text,
        "negative": negative,
        "seed": seed,
        "model": self._name,
        **dataclasses.asdict(chosen),
      }
      # Gradio has copied the file once it asks for what comes after.
      with tempfile.TemporaryDirectory(prefix="unialign-demo-") as folder:
        path = pathlib.Path(folder) / f"{task}-{seed}.png"
        outputs.save_png(path, one.picture, made_by)
        yield str(path), seed, f"{one.steps} steps in {seconds:.1f} s"

  def write(
    self,
    file: str | None,
    question: str | None,
    *,
    seed: float | None,
    **settings: Any,
  ) -> str:
    """A caption, or the answer to a question.

    Raises:
      gradio.Error: as `draw`; a question that leaves no room for an answer.
    """
    with _explained():
      picture = self._read(file)
      return self._pipe.answer(
        picture, (question or "").strip(), seed=_seed(seed), **settings
      )

  def _read(self, file: str | None) -> np.ndarray:
    """Pixels of an uploaded file.

    Raises:
      ValueError: none, not a picture, or too large.
    """
    if not file:
      raise ValueError("picture: got none, expected one; upload it first.")
    data = pathlib.Path(file).read_bytes()
    return picture_files.decode(base.Picture(data), self._max_pixels)


def _seed(value: float | None) -> int:
  if value is None or value != int(value) or not 0 <= value <= _MAX_SEED:
    raise ValueError(
      f"seed: got {value}, expected a whole number from 0 to {_MAX_SEED}."
    )
  return int(value)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
  """Mistakes become messages of the page."""
  try:
    yield
  except ValueError as error:
    raise gr.Error(str(error), print_exception=False) from error
