"""Seconds a train step against the work in it.

  python -m unialign_jax.bench growth [--config=bench.py:small] \\
    [--batch_sizes=2,4,...] [--resolutions=...] [--text_lengths=...] \\
    [--depths=...] [--devices=1,2,...] [--repeats=10] [--json=FILE] \\
    [--plot=FILE]

One quantity changes at a time, the others stay as the config has them: by
default a quarter, a half, the whole and twice of each. Each point is a fresh
process. Beside the step stand the model's FLOPs by formula, and for both the
exponent of the power of the quantity that fits them best: cost that grows as
the work has about the exponent of the work. CPUs are divided into virtual
devices, which share the cores: there the step should stay as long as it is.
"""

import dataclasses
import datetime
import sys

from absl import flags
from ml_collections import config_flags

from unialign_jax import config as config_lib
from unialign_jax.bench import fresh
from unialign_jax.bench import growth_report
from unialign_jax.bench import jax_step
from unialign_jax.bench import machine
from unialign_jax.bench import outputs
from unialign_jax.bench import train_report
from unialign_jax.planning import planner

# Flag -> what it changes.
_FLAGS = {
  "batch_sizes": "batch",
  "resolutions": "image tokens",
  "text_lengths": "text tokens",
  "depths": "blocks",
}
_FACTORS = (0.25, 0.5, 1, 2)
_DEVICES = "devices"


def define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config", str(config_lib.find_file("bench.py")) + ":small", "Of the run."
  )
  for name, what in _FLAGS.items():
    flags.DEFINE_list(name, [], f"Values for {what}; by the config if empty.")
  flags.DEFINE_list(_DEVICES, ["1", "2", "4", "8"], "Numbers of devices.")
  flags.DEFINE_integer("repeats", 10, "Steps after the warm-up.", 1)
  outputs.define_flags()


def main(argv: list[str]) -> None:
  del argv  # no more than flags
  values = flags.FLAGS
  outputs.check()
  config = planner.as_planned(values.config)
  given = {
    what: outputs.whole_numbers(name, values[name].value)
    for name, what in _FLAGS.items()
  }
  devices = outputs.whole_numbers(_DEVICES, values.devices)
  plan = {
    what: variants(config, what, numbers) for what, numbers in given.items()
  }
  described = fresh.run(machine.describe).value
  if described["device_kind"] != "cpu":
    devices = [n for n in devices if n <= described["devices"]]
  plan[_DEVICES] = dict.fromkeys(devices, config)
  load = machine.load()
  curves = measure(plan, described["devices"], values.repeats)
  print(
    f"date {datetime.date.today()}, load {load}, after {machine.load()}\n"
    f"{described}\n\n{growth_report.table(curves)}"
  )
  result = {"machine": described, "curves": growth_report.tree(curves)}
  outputs.write(result, growth_report.draw(curves))


def variants(
  config: config_lib.Config, what: str, given: list[int]
) -> dict[int, config_lib.Config]:
  """Configs by the number that changes.

  Args:
    config: of the run.
    what: a value of `_FLAGS`.
    given: as the flag has them; with none, the config's number by `_FACTORS`.

  Raises:
    ValueError: a number that does not fit the rest of the config.
  """
  data, model = config.data, config.model
  unit = data.latent_factor * model.patch_size
  usual, step = {
    "batch": (data.batch_size, config.train.accumulation),
    "image tokens": (data.resolution, unit),
    "text tokens": (data.text_length, 1),
    "blocks": (model.depth, 1),
  }[what]
  numbers = given or sorted(
    {max(step, round(usual * f / step) * step) for f in _FACTORS}
  )
  made = {number: _changed(config, what, number) for number in numbers}
  if what != "image tokens":
    return made
  return {(number // unit) ** 2: each for number, each in made.items()}


def _changed(
  config: config_lib.Config, what: str, number: int
) -> config_lib.Config:
  data, model = {}, {}
  if what == "batch":
    data["batch_size"] = number
  elif what == "image tokens":
    data["resolution"] = number
  elif what == "text tokens":
    data["text_length"] = number
  else:
    model = {
      "depth": number,
      "align_depth": min(number, config.model.align_depth),
      "dual_attention_depth": min(number, config.model.dual_attention_depth),
    }
  return dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, **data),
    model=dataclasses.replace(config.model, **model),
  )


def measure(
  plan: dict[str, dict[int, config_lib.Config]], devices: int, repeats: int
) -> list[growth_report.Curve]:
  """Times every config once.

  Args:
    plan: configs by what changes and its number.
    devices: that are used, but where they are what changes.
    repeats: steps that are timed.

  Raises:
    ValueError: a config that does not fit the devices.
  """
  known: dict[tuple[config_lib.Config, int], fresh.Outcome] = {}

  def run(config: config_lib.Config, devices: int) -> fresh.Outcome:
    if (config, devices) not in known:
      known[config, devices] = fresh.run(
        jax_step.measure, config, 0, repeats, devices
      )
    return known[config, devices]

  curves = []
  for what, configs in plan.items():
    points = []
    for number, config in configs.items():
      print(f"{what}: {number}", file=sys.stderr, flush=True)
      outcome = run(config, number if what == _DEVICES else devices)
      points.append(
        growth_report.Point(
          number=number,
          steps=outcome.value.steps,
          flops=train_report.work(config, 0).flops,
          compile_seconds=outcome.value.compile_seconds,
          peak=outcome.peak,
        )
      )
    curves.append(growth_report.Curve(what=what, points=points))
  return curves
