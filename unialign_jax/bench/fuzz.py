"""Damaged files through every reader of files from outside.

  python -m unialign_jax.bench fuzz [--cases=N] [--seconds=S] [--seed=K] \\
    [--target=NAME ...] [--first=I] [--keep=DIR] [--json=FILE]

Case i of a seed is the same bytes in every run: a whole small file with one to
six changes. A reader may take it or refuse it with its own error. Another
exception, a crash, more than --case_seconds of the processor (ten times that by
the clock) or more than --most_growth_mb of memory is a finding: its input is
put into --keep, and the status is 1.
"""

import dataclasses
import datetime
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tqdm
from absl import flags

from unialign_jax.bench import fuzz_targets
from unialign_jax.bench import fuzz_watch
from unialign_jax.bench import fuzz_work
from unialign_jax.bench import machine

_ROW = "{:12} {:>8} {:>8} {:>9}"


def define_flags() -> None:
  flags.DEFINE_integer("cases", 100_000, "How many, at most.", lower_bound=1)
  flags.DEFINE_float("seconds", None, "No case begins later.", lower_bound=0)
  flags.DEFINE_integer("seed", 0, "Of all cases.")
  flags.DEFINE_integer("first", 0, "Number of the first.", lower_bound=0)
  flags.DEFINE_multi_string("target", [], "A reader; none for all of them.")
  flags.DEFINE_float("case_seconds", 5.0, "Of one case.", lower_bound=0.1)
  flags.DEFINE_integer("most_growth_mb", 500, "Of memory.", lower_bound=1)
  flags.DEFINE_string("keep", None, "Folder for inputs of findings.")
  flags.DEFINE_string("json", None, "Local file for the numbers.")


def main(argv: Sequence[str]) -> None:
  del argv  # no more than flags
  values = flags.FLAGS
  with tempfile.TemporaryDirectory(prefix="unialign-fuzz-") as folder:
    targets = fuzz_targets.make(pathlib.Path(folder))
    names = _names(targets, values.target)
    plan = fuzz_work.Plan(
      seed=values.seed,
      names=names,
      first=values.first,
      stop=values.first + values.cases,
      most_growth=values.most_growth_mb * 10**6,
      until=time.monotonic() + (values.seconds or float("inf")),
    )
    with tqdm.tqdm(total=values.cases, unit="case", mininterval=1) as bar:
      outcome = fuzz_watch.run(
        plan,
        case_seconds=values.case_seconds,
        tell=lambda case: bar.update(max(0, case - plan.first - bar.n)),
      )
    if values.keep:
      _keep(pathlib.Path(values.keep), targets, plan, outcome)
  print(_report(names, outcome))
  if values.json:
    result = _result(plan, outcome)
    pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")
  if outcome.findings:
    sys.exit(1)


def _names(
  targets: Mapping[str, fuzz_targets.Target], asked: Sequence[str]
) -> tuple[str, ...]:
  if unknown := sorted(set(asked) - set(targets)):
    raise ValueError(f"--target: got {unknown}, expected some of {[*targets]}")
  return tuple(asked or targets)


def _keep(
  folder: pathlib.Path,
  targets: Mapping[str, fuzz_targets.Target],
  plan: fuzz_work.Plan,
  outcome: fuzz_watch.Outcome,
) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for finding in outcome.findings:
    target = targets[finding.target]
    data = fuzz_work.input_of(target, plan.seed, finding.case)
    (folder / f"{finding.target}-{plan.seed}-{finding.case}").write_bytes(data)


def _report(names: Sequence[str], outcome: fuzz_watch.Outcome) -> str:
  lines = [_ROW.format("target", "read", "refused", "findings")]
  for name in names:
    found = sum(f.target == name for f in outcome.findings)
    lines.append(
      _ROW.format(name, outcome.read[name], outcome.refused[name], found)
    )
  lines += [
    f"{outcome.cases} cases in {outcome.seconds:.0f} s, {len(outcome.findings)}"
    " findings",
    f"slowest case {outcome.slowest:.2f} s of the processor (number"
    f" {outcome.slowest_case}),"
    f" memory grew by {outcome.growth / 1e6:.0f} MB at most",
  ]
  for finding in outcome.findings:
    lines.append(
      f"case {finding.case}, {finding.target}: {finding.kind}\n{finding.detail}"
    )
  return "\n".join(lines)


def _result(
  plan: fuzz_work.Plan, outcome: fuzz_watch.Outcome
) -> dict[str, Any]:
  plan = dataclasses.asdict(plan)
  del plan["until"], plan["make"]  # the clock of this machine, its code
  return {
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "load": machine.load(),
    "plan": plan,
    "outcome": vars(outcome)
    | {"findings": [dataclasses.asdict(f) for f in outcome.findings]},
  }
