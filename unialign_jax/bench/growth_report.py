"""Steps against their work, as a table, as JSON and as a picture."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import figure as figure_lib

_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
  """One program.

  Attributes:
    number: of what changes.
    steps: seconds of each.
    flops: of the model in a step, by formula.
    compile_seconds: XLA's part.
    peak: most bytes of memory of the process.
  """

  number: int
  steps: list[float]
  flops: float
  compile_seconds: float
  peak: int | None

  @property
  def median(self) -> float:
    return statistics.median(self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """Points along which one quantity changes.

  Attributes:
    what: the quantity.
    points: by growing number.
  """

  what: str
  points: list[Point]

  def exponents(self) -> tuple[float, float] | None:
    """Of the step's and of the work's power law; None for a single point."""
    if len(self.points) < 2:
      return None
    numbers = [point.number for point in self.points]
    return (
      exponent(numbers, [point.median for point in self.points]),
      exponent(numbers, [point.flops for point in self.points]),
    )


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
  """b of the `a x^b` that is nearest to y, by least squares of logarithms."""
  return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def table(curves: list[Curve]) -> str:
  """Markdown: all points; then the exponents."""
  lines = [
    "| | | s a step | model GFLOP | GFLOP/s | compile s | peak MiB |",
    "|---|---|---|---|---|---|---|",
  ]
  for curve in curves:
    for point in curve.points:
      peak = f"{point.peak / _MIB:.0f}" if point.peak else ""
      lines.append(
        f"| {curve.what} | {point.number} | {point.median:.4f}"
        f" ({min(point.steps):.4f} to {max(point.steps):.4f}) |"
        f" {point.flops / 1e9:.2f} | {point.flops / point.median / 1e9:.1f} |"
        f" {point.compile_seconds:.1f} | {peak} |"
      )
  lines.append("")
  for curve in curves:
    if exponents := curve.exponents():
      step, work = exponents
      lines.append(
        f"{curve.what}: the step grows with exponent {step:.2f}, its FLOPs"
        f" with {work:.2f}"
      )
  return "\n".join(lines).rstrip()


def tree(curves: list[Curve]) -> list[dict[str, Any]]:
  """What goes into JSON; seconds, FLOPs, bytes."""
  found = []
  for curve in curves:
    step, work = curve.exponents() or (None, None)
    found.append(
      dataclasses.asdict(curve)
      | {"step_exponent": step, "flops_exponent": work}
    )
  return found


def draw(curves: list[Curve]) -> figure_lib.Figure:
  """A panel a curve, both axes logarithmic; the work through the middle."""
  figure = figure_lib.Figure(
    figsize=(3.6 * len(curves), 3.8), layout="constrained"
  )
  for axes, curve in zip(
    figure.subplots(1, len(curves), squeeze=False)[0], curves
  ):
    _panel(axes, curve)
  return figure


def _panel(axes: Any, curve: Curve) -> None:
  numbers = [point.number for point in curve.points]
  medians = [point.median for point in curve.points]
  spread = [
    [m - min(point.steps) for m, point in zip(medians, curve.points)],
    [max(point.steps) - m for m, point in zip(medians, curve.points)],
  ]
  # The rate at which the work line meets the steps on average.
  rate = np.exp(
    np.mean([np.log(point.flops / point.median) for point in curve.points])
  )
  axes.errorbar(numbers, medians, spread, marker="o", capsize=3, label="step")
  axes.plot(
    numbers,
    [point.flops / rate for point in curve.points],
    "--",
    color="gray",
    label=f"FLOPs at {rate / 1e9:.0f} GFLOP/s",
  )
  axes.set_xscale("log", base=2)
  axes.set_yscale("log", base=2)
  axes.set_xticks(numbers, [str(number) for number in numbers])
  axes.yaxis.set_major_formatter(lambda value, position: f"{value:.3g}")
  axes.set_title(curve.what)
  axes.set_ylabel("seconds a step")
  axes.grid(True, alpha=0.25)
  axes.legend(fontsize=8)
