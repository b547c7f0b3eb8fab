"""Where numbers go: metrics.jsonl, TensorBoard events, the progress bar."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping

import numpy as np
import tensorboardX
import tqdm


class Logger:
  """Writes on process 0; silent elsewhere.

  Use it as a context manager, so that files are flushed whatever happens.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    first_step: int,
    steps: int,
    active: bool,
  ):
    self._active = active
    if not active:
      return
    folder = pathlib.Path(workdir)
    self._lines = (folder / "metrics.jsonl").open("a", buffering=1)
    self._events = tensorboardX.SummaryWriter(str(folder))
    self._bar = tqdm.tqdm(
      total=steps,
      initial=first_step,
      unit="step",
      dynamic_ncols=True,
      mininterval=0.5,
    )

  def __enter__(self) -> "Logger":
    return self

  def __exit__(self, *unused: object) -> None:
    if self._active:
      self._bar.close()
      self._lines.close()
      self._events.close()

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """One line of metrics.jsonl and one point a curve."""
    if not self._active:
      return
    line = {"step": step, "time": round(time.time(), 3)}
    for name, value in values.items():
      # JSON has no NaN or infinity.
      line[name] = value if math.isfinite(value) else str(value)
      self._events.add_scalar(name, value, step)
    self._lines.write(json.dumps(line) + "\n")

  def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
    """A uint8 picture for TensorBoard."""
    if self._active:
      self._events.add_image(name, image_HWC, step, dataformats="HWC")

  def text(self, step: int, name: str, text: str) -> None:
    """A text for TensorBoard."""
    if self._active:
      self._events.add_text(name, text, step)

  def progress(
    self, step: int, loss: float, seconds_per_step: float | None
  ) -> None:
    """Moves the bar: loss, step time; tqdm adds the time left.

    Args:
      step: steps taken.
      loss: mean since the last call.
      seconds_per_step: None while it is not known.
    """
    if self._active:
      speed = f", {seconds_per_step:.3f} s a step" if seconds_per_step else ""
      self._bar.set_postfix_str(f"loss {loss:.3f}{speed}", refresh=False)
      self._bar.update(step - self._bar.n)

  def message(self, text: str) -> None:
    """A line above the bar."""
    if self._active:
      self._bar.write(text)
