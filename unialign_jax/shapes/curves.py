"""The losses of a run over its steps, as one picture."""

import json
import os
import pathlib
from collections.abc import Mapping

import matplotlib.figure
import matplotlib.ticker

_PANELS = (
  ("total", ("loss/total",)),
  ("image: flow matching", ("loss/flow",)),
  ("text: masked tokens", ("loss/text",)),
  (
    "alignment",
    ("loss/cross", "loss/intrinsic_image", "loss/intrinsic_text"),
  ),
)


def read(path: str | os.PathLike) -> dict[int, dict[str, float]]:
  """Metrics by step; a step that was run again counts once, with its last run.

  Raises:
    ValueError: the file is missing or has no whole line.
  """
  path = pathlib.Path(path)
  text = path.read_text() if path.exists() else ""
  metrics = {}
  for line in text.splitlines():
    try:
      values = json.loads(line)
    except ValueError:  # a killed run may leave half a line
      continue
    metrics[int(values["step"])] = {k: float(v) for k, v in values.items()}
  if not metrics:
    raise ValueError(
      f"{path}: got no metrics, expected the lines of a run; train first, or"
      " correct the folder"
    )
  return dict(sorted(metrics.items()))


def draw(
  metrics: Mapping[int, Mapping[str, float]], path: str | os.PathLike
) -> None:
  """Writes the curves as a PNG: one panel a kind of loss, logarithmic."""
  figure = matplotlib.figure.Figure(figsize=(11, 7), layout="constrained")
  for axes, (title, names) in zip(figure.subplots(2, 2).flat, _PANELS):
    for name in names:
      points = [(s, v[name]) for s, v in metrics.items() if name in v]
      axes.plot(*zip(*points), label=name.removeprefix("loss/"), linewidth=1.2)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.3g"))
    axes.yaxis.set_minor_formatter(matplotlib.ticker.FormatStrFormatter("%.2g"))
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.grid(True, which="both", alpha=0.25)
    if len(names) > 1:
      axes.legend()
  figure.savefig(path, dpi=110)
