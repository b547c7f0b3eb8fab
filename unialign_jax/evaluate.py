"""Evaluates a model on a benchmark: makes its pictures, and scores them.

  python -m unialign_jax.evaluate --benchmark=shapes --model=shapes --out=DIR
  ... --only=generate --shard=I/N          its share of N processes
  ... --only=score --judge=URL --judge_model=NAME
  ... --data=FILES --set NAME=VALUE        what the benchmark asks for
  ... --only=score --compat                as the official scripts count
  python -m unialign_jax.evaluate --report=DIR      of all results below DIR

The same command goes on where an earlier one stopped. docs/benchmarks.md has
the benchmarks, and how far each number can be trusted.

Exit status: 0 done; 1 some of it could not be made, the judge was lost, or no
number came of the judging, and what was missing is named; 2 a mistake in flags
or files, which would be there the next time too; 130 after Ctrl-C.
"""

import importlib.util
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import app
from absl import flags
from absl import logging

from unialign_jax import command_line
from unialign_jax import interrupts
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.evals import generation
from unialign_jax.evals import model as model_lib
from unialign_jax.evals import official_files
from unialign_jax.evals import protocols
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
_DATA = flags.DEFINE_string(
  "data", "", "The benchmark's official files, or OWNER/NAME on the hub."
)
_PROTOCOL = flags.DEFINE_string("protocol", "", "Which way of scoring.")
_COMPAT = flags.DEFINE_bool(
  "compat", False, "--protocol=compat: as the official scripts count."
)
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
_LOCAL = "local:"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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
  settings = _benchmark_settings(benchmark)
  judge = _early_judge() if is_scored else None
  data = official_files.find(_DATA.value, benchmark)
  if is_scored:
    benchmark.check(data, settings, bool(flags.FLAGS["judge"].value))
  work = work_lib.Work(benchmark, pathlib.Path(_OUT.value), data, settings)
  num_broken = _generate(work, shard) if _ONLY.value != "score" else 0
  if shard.count == 1:
    work.finish()
  found = None
  if is_scored:
    found = _score(work, judge or _judge())
  elif shard.count > 1:
    print(f"shard {shard.index}/{shard.count} is done; --only=score once all")
  if num_broken:
    raise command.Broken(f"{num_broken} pictures or texts could not be made")
  if found is not None and results.is_empty(found):
    raise command.Broken("no number came of it; the notes above say why")


def _require(*names: str) -> None:
  for name in names:
    if not flags.FLAGS[name].value:
      raise ValueError(f"--{name}: got none, expected {_EXPECTED[name]}.")


_EXPECTED = {
  "benchmark": f"one of {', '.join(registry.NAMES)}",
  "out": "the folder that the results go into",
  "model": "a workdir, an exported folder, a hub id, or shapes",
}


def _benchmark_settings(benchmark: benchmark_lib.Benchmark) -> dict[str, Any]:
  settings = {}
  for given in _SET.value:
    name, equals, value = given.partition("=")
    if not equals or not name.isidentifier():
      raise ValueError(f"--set: got {given!r}, expected NAME=VALUE.")
    settings[name] = value
  if _PROTOCOL.value:
    settings["protocol"] = _PROTOCOL.value
  if _COMPAT.value:
    other = settings.get("protocol", protocols.COMPAT)
    if other != protocols.COMPAT:
      raise ValueError(
        f"--compat: got it with protocol {other}, expected one of them."
      )
    if protocols.COMPAT not in benchmark.known_protocols:
      raise ValueError(
        f"--compat: got it with --benchmark={benchmark.name}, which is scored"
        f" as {' or '.join(benchmark.known_protocols)} alone; leave it out."
      )
    settings["protocol"] = protocols.COMPAT
  return settings


def _early_judge() -> judge_lib.Judge | None:
  """The judge, opened before anything is made for it; None where it waits.

  A model in this process is opened when the pictures are there: it would share
  the memory with the one that draws. What can be told without it, is.
  """
  where = flags.FLAGS["judge"].value or ""
  if not where.startswith(_LOCAL) or flags.FLAGS["judge_model"].value:
    return _judge()
  name = where.removeprefix(_LOCAL)
  if not pathlib.Path(name).is_dir() and not _HUB_ID.fullmatch(name):
    raise ValueError(
      f"--judge={where}: got neither a folder here nor a hub id, expected a"
      " model of transformers."
    )
  if importlib.util.find_spec("torch") is None:
    raise ValueError(
      f"--judge={where}: got no PyTorch, which a judge here needs; install the"
      " extra `encoders`, or give the address of a server."
    )
  return None


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


def _score(
  work: work_lib.Work, judge: judge_lib.Judge | None
) -> results.Report:
  found = work.score(judge)
  default = work.benchmark.known_protocols[0]
  path = work.out / results.name(found.result.protocol, default)
  results.write(path, found)
  print(f"{results.table(found)}\n{path}")
  return found


def cli() -> None:
  """Runs `main`; what does not work is one message and a status."""
  interrupts.keep()
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
