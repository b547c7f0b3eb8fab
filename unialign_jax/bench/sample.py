"""Seconds a picture and a caption, beside the exported PyTorch pipeline.

  python -m unialign_jax.bench sample [--model=shapes] [--dtypes=float32,...] \\
    [--batch_sizes=1,8] [--cpu_devices=1,2] [--repeats=20] \\
    [--against=torch] [--json=FILE]

Each form runs in a fresh process: prompt to picture, and picture to caption,
with the model's own settings, new prompts and pictures each time. The first
call, with compilation, is told apart; the rest are a median. CPUs are measured
as one device and divided into several, over which a batch is spread. With
--against=torch the same model goes through the pipeline that `export` writes,
eager and compiled, in the same dtypes, and the ratio is printed.
"""

import dataclasses
import datetime
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from absl import flags

from unialign_jax.bench import fresh
from unialign_jax.bench import machine
from unialign_jax.bench import outputs
from unialign_jax.bench import samplers

_DTYPES = ("float32", "bfloat16")
_MIB = 2**20


def define_flags() -> None:
  flags.DEFINE_string(
    "model", "shapes", "Workdir, exported folder, or the shipped model."
  )
  flags.DEFINE_list("dtypes", list(_DTYPES), "Of the networks.")
  flags.DEFINE_list("batch_sizes", ["1", "8"], "Examples of one call.")
  flags.DEFINE_list(
    "cpu_devices", ["1", "2"], "Into how many devices CPUs are divided."
  )
  flags.DEFINE_integer("repeats", 20, "Calls after the first.", 1)
  flags.DEFINE_enum("against", None, ["torch"], "What to run beside.")
  flags.DEFINE_string("json", None, "Local file for the numbers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
  """One way to run the model, measured.

  Attributes:
    name: as the table has it.
    dtype: of the networks.
    timings: of each batch size.
    peak: most bytes of memory.
  """

  name: str
  dtype: str
  timings: list[samplers.Timing]
  peak: int | None


def main(argv: list[str]) -> None:
  del argv  # no more than flags
  values = flags.FLAGS
  if values.json and not pathlib.Path(values.json).parent.is_dir():
    raise ValueError(f"--json: got {values.json}, expected an existing folder")
  if unknown := set(values.dtypes) - set(_DTYPES):
    raise ValueError(
      f"--dtypes: got {sorted(unknown)}, expected some of {_DTYPES}."
    )
  sizes = outputs.whole_numbers("batch_sizes", values.batch_sizes)
  devices = outputs.whole_numbers("cpu_devices", values.cpu_devices)
  described = fresh.run(machine.describe).value
  load = machine.load()
  forms = measure(
    values.model,
    values.dtypes,
    sizes,
    devices if described["device_kind"] == "cpu" else [1],
    values.repeats,
    bool(values.against),
  )
  text = table(forms)
  print(
    f"date {datetime.date.today()}, model {values.model}, load {load}, after"
    f" {machine.load()}\n{described}\n\n{text}"
  )
  if values.json:
    result = {"machine": described, "forms": [tree(form) for form in forms]}
    pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")


def measure(
  model: str,
  dtypes: list[str],
  batch_sizes: list[int],
  cpu_devices: list[int],
  repeats: int,
  against_torch: bool,
) -> list[Form]:
  """Runs every form in turn.

  Raises:
    ValueError: a model that cannot be loaded, or exported.
  """
  forms = []

  def run(name: str, dtype: str, function: Any, *args: Any) -> None:
    print(f"{name}, {dtype}", file=sys.stderr, flush=True)
    done = fresh.run(function, *args, dtype, batch_sizes, repeats)
    forms.append(
      Form(name=name, dtype=dtype, timings=done.value, peak=done.peak)
    )

  for dtype in dtypes:
    for devices in cpu_devices:
      name = "jax" if devices == 1 else f"jax on {devices} devices"
      run(name, dtype, samplers.time_jax, model, devices)
  if against_torch:
    with tempfile.TemporaryDirectory(prefix="unialign-bench-") as scratch:
      folder = pathlib.Path(scratch) / "exported"
      fresh.run(samplers.export, model, folder)
      for dtype in dtypes:
        for name, is_compiled in (("eager", False), ("compiled", True)):
          run(f"torch {name}", dtype, samplers.time_torch, folder, is_compiled)
  return forms


def table(forms: list[Form]) -> str:
  """Markdown: seconds for each form; then the ratios to the fastest torch."""
  head = (
    "| form | dtype | batch | first picture s | s a picture | first caption s"
    " | s a caption | peak MiB |"
  )
  lines = [head, "|---|---|---|---|---|---|---|---|"]
  for form in forms:
    peak = f"{form.peak / _MIB:.0f}" if form.peak else ""
    for one in form.timings:
      lines.append(
        f"| {form.name} | {form.dtype} | {one.batch_size} |"
        f" {one.first_picture:.2f} | {_a(one.pictures, one.batch_size)} |"
        f" {one.first_caption:.2f} | {_a(one.captions, one.batch_size)} |"
        f" {peak} |"
      )
  lines += ["", *_ratios(forms)]
  return "\n".join(lines).rstrip()


def tree(form: Form) -> dict[str, Any]:
  """What goes into JSON; seconds of whole calls, bytes."""
  return dataclasses.asdict(form)


def _ratios(forms: list[Form]) -> list[str]:
  """How many times faster than the fastest form of torch."""
  lines = []
  for i, size in enumerate(t.batch_size for t in forms[0].timings):
    for what in ("pictures", "captions"):
      best = {"jax": float("inf"), "torch": float("inf")}
      for form in forms:
        side = form.name.split()[0]
        seconds = statistics.median(getattr(form.timings[i], what))
        best[side] = min(best[side], seconds)
      if best["torch"] < float("inf"):
        lines.append(
          f"{what}, batch {size}: {best['torch'] / best['jax']:.2f} times as"
          " fast as the fastest of PyTorch"
        )
  return lines


def _a(seconds: list[float], batch_size: int) -> str:
  """Median a picture or text, with the least and the most."""
  each = [s / batch_size for s in seconds]
  return f"{statistics.median(each):.4f} ({min(each):.4f} to {max(each):.4f})"
