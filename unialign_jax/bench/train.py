"""Seconds a train step, beside the same step in PyTorch.

  python -m unialign_jax.bench train [--config=bench.py] [--conditions=0] \\
    [--dtypes=float32,...] [--repeats=20] [--against=torch] [--json=FILE] \\
    [--plot=FILE]

Each form runs in a fresh process, on a made-up batch: compilation without the
persistent cache, three steps to warm up, then --repeats steps, each waited
for; and, with the cache filled, a whole start. With --against=torch diffusers'
SD3 blocks take the same steps with the same weights, batch and draws, eager
and compiled; losses, gradient norms and weights are compared before any time
is told. All of them have their memory on huge pages (docs/performance.md),
unless GLIBC_TUNABLES says something else.
"""

import dataclasses
import datetime
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

from absl import flags
from ml_collections import config_flags

from unialign_jax import config as config_lib
from unialign_jax.bench import fresh
from unialign_jax.bench import handover
from unialign_jax.bench import jax_step
from unialign_jax.bench import machine
from unialign_jax.bench import outputs
from unialign_jax.bench import torch_forms
from unialign_jax.bench import train_report
from unialign_jax.planning import planner

_DTYPES = tuple(torch_forms.TOLERANCE)
# glibc reads it when a process starts, so it is for the fresh ones.
_HUGE_PAGES = "glibc.malloc.hugetlb=1"


def define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config", str(config_lib.find_file("bench.py")), "Config of the run."
  )
  flags.DEFINE_integer("conditions", 0, "Condition images of a record.", 0)
  flags.DEFINE_list("dtypes", list(_DTYPES), "In place of model.dtype.")
  flags.DEFINE_integer("repeats", 20, "Steps after the warm-up.", 1)
  flags.DEFINE_enum("against", None, ["torch"], "What to run beside.")
  outputs.define_flags()


def main(argv: list[str]) -> None:
  del argv  # no more than flags
  values = flags.FLAGS
  outputs.check()
  if unknown := set(values.dtypes) - set(_DTYPES):
    raise ValueError(
      f"--dtypes: got {sorted(unknown)}, expected some of {_DTYPES}."
    )
  config = planner.as_planned(values.config)
  if values.conditions > config.data.max_cond:
    raise ValueError(
      f"--conditions: got {values.conditions}, expected at most"
      f" config.data.max_cond = {config.data.max_cond}."
    )
  if values.against:
    handover.check(config)
  os.environ.setdefault("GLIBC_TUNABLES", _HUGE_PAGES)
  described = fresh.run(machine.describe).value
  load = machine.load()
  forms = measure(
    config,
    values.conditions,
    values.dtypes,
    values.repeats,
    bool(values.against),
  )
  work = train_report.work(config, values.conditions)
  print(
    f"date {datetime.date.today()}, load {load}, after {machine.load()}\n"
    f"{described}\n\n{train_report.table(forms, work)}"
  )
  result = {"machine": described, **train_report.tree(forms, work)}
  outputs.write(result, train_report.draw(forms))


def measure(
  config: config_lib.Config,
  num_cond: int,
  dtypes: list[str],
  repeats: int,
  against_torch: bool,
) -> list[train_report.Form]:
  """Runs every form in turn.

  Raises:
    ValueError: a config that does not fit the devices, or two sides that do
      not compute the same.
  """
  forms, expected = [], {}
  typed = {dtype: with_dtype(config, dtype) for dtype in dtypes}
  with tempfile.TemporaryDirectory(prefix="unialign-bench-") as scratch:
    folder = pathlib.Path(scratch)
    for dtype, each in typed.items():
      done, form = _jax(each, num_cond, repeats, folder / dtype)
      forms.append(form)
      expected[dtype] = done.computed
    if against_torch:
      _tell("weights and draws for torch")
      fresh.run(handover.write, config, num_cond, folder)
      forms += [
        _torch(folder, each, is_compiled, expected[dtype], repeats)
        for dtype, each in typed.items()
        for is_compiled in (False, True)
      ]
  return forms


def with_dtype(config: config_lib.Config, dtype: str) -> config_lib.Config:
  """The config with activations in another dtype."""
  return dataclasses.replace(
    config, model=dataclasses.replace(config.model, dtype=dtype)
  )


def _jax(
  config: config_lib.Config, num_cond: int, repeats: int, cache: pathlib.Path
) -> tuple[jax_step.Measured, train_report.Form]:
  dtype = config.model.dtype
  _tell(f"jax, {dtype}")
  outcome = fresh.run(jax_step.measure, config, num_cond, repeats)
  done: jax_step.Measured = outcome.value
  _tell(f"jax, {dtype}: from start to first step")
  cold, warm = (
    fresh.run(jax_step.start, config, num_cond, str(cache), time.time()).value
    for _ in range(2)
  )
  return done, train_report.Form(
    name="jax",
    dtype=dtype,
    compile_seconds=done.lower_seconds + done.compile_seconds,
    cold=cold,
    warm=warm,
    steps=done.steps,
    peak=outcome.peak,
    device_peak=done.device_peak,
    peak_flops=done.peak_flops,
  )


def _torch(
  folder: pathlib.Path,
  config: config_lib.Config,
  is_compiled: bool,
  expected: list[dict[str, float]],
  repeats: int,
) -> train_report.Form:
  """A form that cannot run is told of, and the others go on."""
  dtype = config.model.dtype
  name = "torch compiled" if is_compiled else "torch eager"
  _tell(f"{name}, {dtype}")
  args = (folder, config, is_compiled, expected, repeats)
  try:
    outcome = fresh.run(torch_forms.measure, *args)
  except RuntimeError as error:
    reason = str(error).strip().splitlines()[-1]
    return train_report.Form(name=name, dtype=dtype, failed=reason)
  done: torch_forms.Measured = outcome.value
  return train_report.Form(
    name=name,
    dtype=dtype,
    compile_seconds=done.first if is_compiled else None,
    steps=done.steps,
    apart=done.apart,
    peak=outcome.peak,
    device_peak=done.device_peak,
  )


def _tell(text: Any) -> None:
  print(text, file=sys.stderr, flush=True)
