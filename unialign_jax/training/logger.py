"""Where numbers and samples go: files, TensorBoard events, the progress bar."""

import os
import pathlib
import time
from collections.abc import Mapping

import tensorboardX
import tqdm
from PIL import Image

from unialign_jax.sampling import showcase
from unialign_jax.training import lines

METRICS_FILE = "metrics.jsonl"


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
    self._samples = folder / "samples"
    lines.trim(folder / METRICS_FILE)
    self._lines = (folder / METRICS_FILE).open("a", buffering=1)
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
      self._events.add_scalar(name, value, step)
    self._lines.write(lines.encode(line | dict(values)))

  def sample(self, step: int, shown: showcase.Shown) -> None:
    """A grid of samples with its texts, to samples/ and TensorBoard."""
    if not self._active:
      return
    self._samples.mkdir(exist_ok=True)
    stem = self._samples / f"step_{step:08d}_{shown.name}"
    Image.fromarray(shown.picture_HWC).save(stem.with_suffix(".png"))
    stem.with_suffix(".txt").write_text("\n".join(shown.texts) + "\n")
    self._events.add_image(
      f"samples/{shown.name}", shown.picture_HWC, step, dataformats="HWC"
    )
    self._events.add_text(
      f"captions/{shown.name}", "\n\n".join(shown.texts), step
    )

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
