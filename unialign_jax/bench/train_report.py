"""Measured train steps as a table, as JSON and as a picture."""

import dataclasses
import statistics
from typing import Any

from matplotlib import figure as figure_lib

from unialign_jax import config as config_lib
from unialign_jax.bench import jax_step
from unialign_jax.planning import compiled
from unialign_jax.training import flops

_MIB = 2**20
_COLORS = {"jax": "tab:blue", "torch eager": "tab:orange"}
_EAGER = "torch eager"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
  """One way to take the step, measured.

  Attributes:
    name: as the table has it.
    dtype: of the activations.
    compile_seconds: before the first step, or with it in PyTorch.
    cold: a start with an empty persistent cache; JAX only.
    warm: the same start again.
    steps: seconds of each.
    apart: largest relative difference of what was compared with JAX.
    peak: most bytes of memory of the process.
    device_peak: of an accelerator.
    peak_flops: FLOP/s of all devices, where known.
    failed: why there are no numbers.
  """

  name: str
  dtype: str
  compile_seconds: float | None = None
  cold: jax_step.Start | None = None
  warm: jax_step.Start | None = None
  steps: list[float] = dataclasses.field(default_factory=list)
  apart: float | None = None
  peak: int | None = None
  device_peak: int | None = None
  peak_flops: float | None = None
  failed: str = ""

  @property
  def median(self) -> float:
    return statistics.median(self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """What every form does in a step.

  Attributes:
    images: examples.
    tokens: that go through the trunk, in both passes.
    flops: of the model by formula: `training.flops`.
  """

  images: int
  tokens: int
  flops: float


def work(config: config_lib.Config, num_cond: int) -> Work:
  """Of one step."""
  data, model = config.data, config.model
  target = (data.latent_side // model.patch_size) ** 2
  step = flops.train_step(
    model,
    batch_size=data.batch_size,
    target_tokens=target,
    num_cond=num_cond,
    text_tokens=data.text_length,
  )
  if text_model := compiled.text_model(config):
    each = flops.text_encoder(text_model.config, data.text_length)
    step += 2 * data.batch_size * each  # prompt and masked caption
  tokens = target * (2 + num_cond) + 2 * data.text_length
  return Work(
    images=data.batch_size, tokens=tokens * data.batch_size, flops=step
  )


def table(forms: list[Form], work: Work) -> str:
  """Markdown; then what was compiled on a warm start, and the ratios."""
  known = any(form.peak_flops for form in forms)
  rate = "MFU" if known else "GFLOP/s"
  lines = [
    f"{work.images} examples, {work.tokens} tokens and"
    f" {work.flops / 1e9:.4g} model GFLOP a step",
    "",
    "| form | dtype | compile s | first step s, cold | and warm | s a step |"
    f" images/s | tokens/s | {rate} | peak MiB | apart |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
    *(_row(form, work) for form in forms),
    "",
  ]
  for form in forms:
    if form.warm:
      lines.append(
        f"{form.name} {form.dtype}, warm start: {form.warm.loaded} programs"
        f" loaded, {form.warm.compiled} compiled"
      )
    if form.failed:
      lines.append(f"{form.name} {form.dtype}: failed: {form.failed}")
  return "\n".join([*lines, *_ratios(forms)]).rstrip()


def _row(form: Form, work: Work) -> str:
  if form.failed:
    return f"| {form.name} | {form.dtype} | failed |" + " |" * 8
  median = form.median
  rate = f"{work.flops / median / 1e9:.1f}"
  if form.peak_flops:
    rate = f"{work.flops / median / form.peak_flops:.1%}"
  peaks = [form.peak, form.device_peak]
  cells = [
    form.name,
    form.dtype,
    _seconds(form.compile_seconds),
    _seconds(form.cold and form.cold.seconds),
    _seconds(form.warm and form.warm.seconds),
    f"{median:.3f} ({min(form.steps):.3f} to {max(form.steps):.3f})",
    f"{work.images / median:.2f}",
    f"{work.tokens / median:.0f}",
    rate,
    " + ".join(f"{peak / _MIB:.0f}" for peak in peaks if peak),
    "" if form.apart is None else f"{form.apart:.1e}",
  ]
  return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
  return "" if value is None else f"{value:.1f}"


def _ratios(forms: list[Form]) -> list[str]:
  """How many times as fast as eager float32, and as the fastest of all."""
  theirs = [f for f in forms if f.name.startswith("torch") and f.steps]
  if not theirs:
    return []
  lines = []
  for ours in (form for form in forms if form.name == "jax"):
    parts = []
    for other in theirs:
      if (other.name, other.dtype) == (_EAGER, "float32"):
        parts.append(
          f"{other.median / ours.median:.2f} times as fast as eager float32"
          " PyTorch"
        )
    same = [form for form in theirs if form.dtype == ours.dtype]
    for what, among in ((f"in {ours.dtype}", same), ("of all", theirs)):
      if among:
        best = min(among, key=lambda form: form.median)
        parts.append(
          f"{best.median / ours.median:.2f} times as its fastest {what}"
          f" ({best.name}, {best.dtype})"
        )
    lines.append(f"jax {ours.dtype}: {', '.join(parts)}")
  return lines


def tree(forms: list[Form], work: Work) -> dict[str, Any]:
  """What goes into JSON; seconds, bytes, FLOPs."""
  return {
    "work": dataclasses.asdict(work),
    "forms": [dataclasses.asdict(form) | _rates(form, work) for form in forms],
  }


def _rates(form: Form, work: Work) -> dict[str, float | None]:
  if form.failed:
    return {}
  achieved = work.flops / form.median
  return {
    "median": form.median,
    "images_per_second": work.images / form.median,
    "tokens_per_second": work.tokens / form.median,
    "flops_per_second": achieved,
    "mfu": achieved / form.peak_flops if form.peak_flops else None,
  }


def draw(forms: list[Form]) -> figure_lib.Figure:
  """A bar a form: the median step, with the least and the most."""
  forms = [form for form in forms if form.steps][::-1]
  figure = figure_lib.Figure(
    figsize=(8, 1 + 0.45 * len(forms)), layout="constrained"
  )
  axes = figure.subplots()
  medians = [form.median for form in forms]
  spread = [
    [m - min(form.steps) for m, form in zip(medians, forms)],
    [max(form.steps) - m for m, form in zip(medians, forms)],
  ]
  bars = axes.barh(
    [f"{form.name}, {form.dtype}" for form in forms],
    medians,
    xerr=spread,
    color=[_COLORS.get(form.name, "tab:red") for form in forms],
  )
  axes.bar_label(bars, [f"{m:.3f}" for m in medians], padding=4)
  axes.margins(x=0.12)
  axes.set_xlabel("seconds a train step: median, least and most")
  axes.grid(True, axis="x", alpha=0.25)
  return figure
