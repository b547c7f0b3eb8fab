"""Evaluates a model on a benchmark: makes its pictures, and scores them.

  python -m unialign_jax.evaluate --benchmark=shapes --model=shapes --out=DIR
  ... --only=generate --shard=I/N          its share of N processes
  ... --only=score --judge=URL --judge_model=NAME
  ... --data=FILES --set NAME=VALUE        what the benchmark asks for
  python -m unialign_jax.evaluate --report=DIR      of all results below DIR

The same command goes on where an earlier one stopped. docs/benchmarks.md has
the benchmarks, and how far each number can be trusted.

Exit status: 0 done; 1 some of it could not be made or judged, and was named;
2 a mistake in flags or files, which would be there the next time too; 130
after Ctrl-C.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import app
from absl import flags
from absl import logging

from unialign_jax import command_line
from unialign_jax.evals import folder
from unialign_jax.evals import generation
from unialign_jax.evals import model as model_lib
from unialign_jax.evals import registry
from unialign_jax.evals import results
from unialign_jax.evals import work as work_lib
from unialign_jax.evals.judge import flags as judge_flags
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.report import report
from unialign_jax.sampling import text as text_sampling
from unialign_jax.use import command
from unialign_jax.vlm import asking

_model = command.define_model(default="")
_image_settings = command.define_image_settings()
_judge = judge_flags.define()
_BENCHMARK = flags.DEFINE_string("benchmark", "", ", ".join(registry.NAMES))
_OUT = flags.DEFINE_string("out", "", "Folder of the results.")
_DATA = flags.DEFINE_string("data", "", "The benchmark's official files.")
_PROTOCOL = flags.DEFINE_string("protocol", "", "Which way of scoring.")
_SET = flags.DEFINE_multi_string(
  "set", [], "NAME=VALUE for the benchmark; may be repeated."
)
_ONLY = flags.DEFINE_enum("only", None, ["generate", "score"], "A part of it.")
_REPORT = flags.DEFINE_string("report", "", "Report on all results below it.")
_SHARD = flags.DEFINE_string(
  "shard", "", "I/N: share I, from 0, of N processes; by default JAX's own."
)
_STEP = flags.DEFINE_integer("step", None, "Checkpoint of a workdir.", 0)
_EMA = flags.DEFINE_bool("ema", True, "The averaged weights of a workdir.")
_TEXT_SETTINGS = {
  "steps": flags.DEFINE_integer("text_steps", None, "Of unmasking.", 1),
  "schedule": flags.DEFINE_enum(
    "text_schedule", None, text_sampling.SCHEDULES, "Order of unmasking."
  ),
  "temperature": flags.DEFINE_float(
    "temperature", None, "Of texts; 0 takes the likeliest token.", 0
  ),
}
_MISTAKE, _INTERRUPTED = 2, 130


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise ValueError(f"got arguments {argv[1:]}, expected flags alone.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.ERROR)
  if _REPORT.value:
    for path in report.write(pathlib.Path(_REPORT.value)):
      print(path)
    return
  _require("benchmark", "out", *(["model"] if _ONLY.value != "score" else []))
  benchmark, shard = registry.load(_BENCHMARK.value), _shard()
  is_scored = _ONLY.value != "generate" and shard.count == 1
  if is_scored and benchmark.needs_judge:
    _require("judge")
  work = work_lib.Work(
    benchmark,
    pathlib.Path(_OUT.value),
    pathlib.Path(_DATA.value).expanduser() if _DATA.value else None,
    _benchmark_settings(),
  )
  num_broken = _generate(work, shard) if _ONLY.value != "score" else 0
  if shard.count == 1:
    work.finish()
  if is_scored:
    _score(work)
  elif shard.count > 1:
    print(f"shard {shard.index}/{shard.count} is done; --only=score once all")
  if num_broken:
    raise command.Broken(f"{num_broken} pictures or texts could not be made")


def _require(*names: str) -> None:
  for name in names:
    if not flags.FLAGS[name].value:
      raise ValueError(f"--{name}: got none, expected {_EXPECTED[name]}.")


_EXPECTED = {
  "benchmark": f"one of {', '.join(registry.NAMES)}",
  "out": "the folder that the results go into",
  "model": "a workdir, an exported folder, a hub id, or shapes",
  "judge": "who judges the pictures (an address, or local:FOLDER), or"
  " --only=generate",
}


def _benchmark_settings() -> dict[str, Any]:
  settings = {}
  for given in _SET.value:
    name, equals, value = given.partition("=")
    if not equals or not name.isidentifier():
      raise ValueError(f"--set: got {given!r}, expected NAME=VALUE.")
    settings[name] = value
  if _PROTOCOL.value:
    settings["protocol"] = _PROTOCOL.value
  return settings


def _shard() -> folder.Shard:
  if _ONLY.value == "score":
    if _SHARD.value:
      raise ValueError("--shard: got one, expected none with --only=score.")
    return folder.Shard()
  if _SHARD.value:
    return folder.Shard.parse(_SHARD.value)
  return folder.Shard(jax.process_index(), jax.process_count())


def _generate(work: work_lib.Work, shard: folder.Shard) -> int:
  """Makes pictures and texts; returns how many could not be made."""
  model = _model()
  pipe, identity = model_lib.load(model, step=_STEP.value, ema=_EMA.value)
  job = generation.Job(
    out=work.out,
    model=identity,
    image=_image_settings(),
    text={name: flag.value for name, flag in _TEXT_SETTINGS.items()},
    framing=model["framing"] if flags.FLAGS["framing"].present else None,
    shard=shard,
  )
  return work.generate(pipe, job, model_lib.noted(model))


def _score(work: work_lib.Work) -> None:
  found = work.score(_judge())
  path = work.out / results.name(_PROTOCOL.value)
  results.write(path, found)
  print(f"{results.table(found)}\n{path}")


def cli() -> None:
  """Runs `main`; what does not work is one message and a status."""
  try:
    app.run(main, flags_parser=command_line.parse_flags)
  except (ValueError, asking.Unusable) as error:
    _exit(f"error: {error}", _MISTAKE)
  except (command.Broken, judge_lib.JudgeError) as error:
    _exit(str(error), 1)
  except KeyboardInterrupt:
    _exit("interrupted; the same command goes on from here", _INTERRUPTED)
  except SystemExit as end:
    if not isinstance(end.code, str):
      raise
    _exit(end.code, _MISTAKE)


def _exit(message: str, status: int) -> None:
  print(message, file=sys.stderr)
  sys.exit(status)


if __name__ == "__main__":
  cli()
