"""What a soak has shown: both runs compared, as text, JSON and a picture."""

import collections
import dataclasses
import pathlib
import statistics
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from matplotlib import figure as figure_lib

from unialign_jax import checkpoint
from unialign_jax.bench import soak_run
from unialign_jax.training import lines
from unialign_jax.training import logger

# Values of a line of metrics.jsonl that the mathematics decides.
_EXACT = ("loss/", "grad_norm", "learning_rate", "skipped", "spikes")
_MB = 1e6
# Allocators give memory back late: so much growth is not a leak.
_MOST_GROWTH = 0.05
_MOST_FILES = 4  # a save or a batch that is under way


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """Numbers of a soak.

  Attributes:
    killed, alone: the two runs.
    steps: of either.
    seed: of the kills.
    redone: steps that were taken more than once.
    behind: lines of steps behind the last checkpoint: the end was asked for
      before they were taken again, and there is nothing to compare them with.
    compiled: programs that each process of the killed run has compiled.
    differing: values of metrics that are not equal, "step, name".
    arrays: of the last checkpoint, and how many of them differ.
    growth: of the longest process by name: earlier, and later.
    leftovers: temporary files and names that are no finished checkpoint.
  """

  killed: soak_run.Watched
  alone: soak_run.Watched
  steps: int
  seed: int
  redone: int
  behind: int
  compiled: list[int]
  differing: list[str]
  arrays: tuple[int, int]
  growth: dict[str, dict[str, tuple[float, float]]]
  leftovers: list[str]

  @property
  def failures(self) -> list[str]:
    """What should not be; empty where all is well."""
    found = []
    if self.killed.status != soak_run.ASKED_TO_END:
      found.append(
        f"the killed run's supervisor ended with {self.killed.status}"
      )
    if self.alone.status:
      found.append(f"the undisturbed run ended with {self.alone.status}")
    if not self.killed.kills:
      found.append("nothing was killed: more --minutes, or less --most")
    if self.differing:
      found.append(f"{len(self.differing)} values differ: {self.differing[0]}")
    if self.arrays[1]:
      found.append(f"{self.arrays[1]} arrays of the checkpoint differ")
    if any(self.compiled[1:]):
      found.append(f"restarts have compiled {self.compiled[1:]} programs")
    if self.leftovers:
      found.append(f"left over: {', '.join(self.leftovers[:5])}")
    for run, values in self.growth.items():
      for name, (early, late) in values.items():
        most = early * (1 + _MOST_GROWTH)
        if late > (most if name == "memory MB" else early + _MOST_FILES):
          found.append(f"{run}: {name} grew from {early:.0f} to {late:.0f}")
    return found

  def text(self) -> str:
    """Markdown."""
    signals = collections.Counter(k.signal for k in self.killed.kills)
    told = ", ".join(f"{n} {name}" for name, n in sorted(signals.items()))
    arrays, wrong = self.arrays
    rows = [
      ("steps", f"{self.steps}, {self.redone} taken again, {self.behind}"
       " behind the last checkpoint"),
      ("minutes", f"{self.killed.seconds / 60:.1f} killed, "
       f"{self.alone.seconds / 60:.1f} alone"),
      ("kills", f"{len(self.killed.kills)} ({told}), seed {self.seed}"),
      ("values of metrics that differ", f"{len(self.differing)}"),
      ("arrays of the last checkpoint", f"{arrays}, {wrong} of them differ"),
      ("programs compiled, by process", f"{self.compiled}"),
      ("left over", ", ".join(self.leftovers) or "nothing"),
    ]  # fmt: skip
    for run, values in self.growth.items():
      rows += [
        (f"{run}: {name}", f"{early:.0f}, then {late:.0f}")
        for name, (early, late) in values.items()
      ]
    table = ["| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    end = [f"FAILED: {each}" for each in self.failures]
    return "\n".join([*table, *(end or ["all as it should be"])])

  def tree(self) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(self) | {"failures": self.failures}

  def draw(self) -> figure_lib.Figure:
    """Memory and files of both runs, with the kills."""
    figure = figure_lib.Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for name, run in (("killed", self.killed), ("alone", self.alone)):
      minutes = [look.seconds / 60 for look in run.looks]
      style = {"marker": ".", "markersize": 2, "linestyle": "none"}
      memory = [look.memory / _MB for look in run.looks]
      upper.plot(minutes, memory, label=name, **style)
      lower.plot(minutes, [x.files for x in run.looks], **style)
    for axes, label in ((upper, "resident MB"), (lower, "open files")):
      axes.set_ylabel(label)
      axes.set_ylim(bottom=0)
      for kill in self.killed.kills:
        axes.axvline(kill.seconds / 60, color="0.8", linewidth=0.8, zorder=0)
    lower.set_xlabel("minutes; lines are kills")
    upper.legend()
    return figure


def last_step(workdir: pathlib.Path) -> int:
  """Of the newest checkpoint.

  Raises:
    RuntimeError: there is none.
  """
  steps = [int(p.name[5:]) for p in _checkpoints(workdir)]
  if not steps:
    raise RuntimeError(
      f"{workdir}: got no checkpoint, expected one; see supervisor.log"
    )
  return max(steps)


def compare(
  folder: pathlib.Path,
  killed: soak_run.Watched,
  alone: soak_run.Watched,
  *,
  steps: int,
  seed: int,
) -> Report:
  """Reads what both runs have left in a folder."""
  metrics = {
    name: lines.read(folder / name / logger.METRICS_FILE)
    for name in ("killed", "alone")
  }
  by_start = collections.defaultdict(int)
  for line in metrics["killed"]:
    by_start[line["start_number"]] = line["compiled_programs"]
  return Report(
    killed=killed,
    alone=alone,
    steps=steps,
    seed=seed,
    behind=sum(line["step"] > steps for line in metrics["killed"]),
    redone=len(metrics["killed"])
    - len({line["step"] for line in metrics["killed"]}),
    compiled=[by_start[number] for number in sorted(by_start)],
    differing=_differing(metrics["killed"], metrics["alone"], steps),
    arrays=_arrays(folder / "killed", folder / "alone", steps),
    growth={"killed": _growth(killed), "alone": _growth(alone)},
    leftovers=_leftovers(folder),
  )


def _differing(
  killed: list[dict[str, Any]], alone: list[dict[str, Any]], steps: int
) -> list[str]:
  """Steps and names of values that are not equal; every try of a step."""
  wanted = {line["step"]: line for line in alone}
  every = set(range(1, steps + 1))
  taken = {line["step"] for line in killed} & set(wanted)
  found = [f"step {step}: missing" for step in sorted(every - taken)]
  for line in killed:
    if line["step"] > steps:
      continue
    other = wanted.get(line["step"], {})
    found += [
      f"step {line['step']}: {name}"
      for name, value in line.items()
      if name.startswith(_EXACT) and other.get(name) != value
    ]
  return found


def _arrays(
  killed: pathlib.Path, alone: pathlib.Path, steps: int
) -> tuple[int, int]:
  """Arrays of the state after the last step, and how many differ."""
  first, second = (_state(workdir, steps) for workdir in (killed, alone))
  equal = jax.tree.map(
    lambda a, b: np.array_equal(a, b, equal_nan=True), first, second
  )
  return len(jax.tree.leaves(equal)), jax.tree.leaves(equal).count(False)


def _state(workdir: pathlib.Path, step: int) -> Any:
  (path,) = (p for p in _checkpoints(workdir) if int(p.name[5:]) == step)
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(path / "state").item_metadata.tree
    plain = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), tree)
    return reader.restore(
      path / "state", args=ocp.args.PyTreeRestore(restore_args=plain)
    )


def _checkpoints(workdir: pathlib.Path) -> list[pathlib.Path]:
  folder = workdir / checkpoint.FOLDER
  return [p for p in folder.glob("step_*") if p.name[5:].isdigit()]


def _growth(run: soak_run.Watched) -> dict[str, tuple[float, float]]:
  """Medians of the longest process, in two halves, once it has all it needs.

  The first save starts threads, and compilation gives memory back late: the
  first third of what follows the second save is left out too.
  """
  lives = collections.defaultdict(list)
  for look in run.looks:
    if look.saves >= 2:
      lives[look.pid].append(look)
  life = max(lives.values(), key=len, default=[])
  third = len(life) // 3
  if not third:
    return {}
  parts = life[third : 2 * third], life[2 * third :]
  return {
    name: tuple(statistics.median(map(value, part)) for part in parts)
    for name, value in (
      ("memory MB", lambda x: x.memory / _MB),
      ("files", lambda x: x.files),
      ("threads", lambda x: x.threads),
    )
  }


def _leftovers(folder: pathlib.Path) -> list[str]:
  """Names that neither a run nor its cache should leave."""
  found = []
  for name in ("killed", "alone"):
    temporary = folder / f"{name}_by" / "tmp"
    found += [str(p.relative_to(folder)) for p in temporary.iterdir()]
    found += [
      str(p.relative_to(folder))
      for p in (folder / name / checkpoint.FOLDER).iterdir()
      if p not in _checkpoints(folder / name)
    ]
  return found
