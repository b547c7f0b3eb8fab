"""The process that reads damaged files; `fuzz_watch` watches it."""

import dataclasses
import faulthandler
import logging as python_logging
import math
import os
import pathlib
import random
import re
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing import sharedctypes

from unialign_jax.bench import fuzz_mutate
from unialign_jax.bench import fuzz_targets

_REPAIRED = 0.7  # of the inputs whose format has checksums
Make = Callable[[pathlib.Path], Mapping[str, fuzz_targets.Target]]
_STATUS = pathlib.Path("/proc/self/status")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """Which cases; case `i` is the same in every run of one seed.

  Attributes:
    seed: Of all cases.
    names: Of the targets, which take turns.
    first: Number of the first case.
    stop: Number after the last one.
    most_growth: Bytes of resident memory beyond those after the whole files.
    until: Of `time.monotonic`, when no further case begins.
    make: Gives the targets, for a scratch folder.
  """

  seed: int
  names: tuple[str, ...]
  first: int
  stop: int
  most_growth: int
  until: float = math.inf
  make: Make = fuzz_targets.make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """A case that was not answered as it should be.

  Attributes:
    case: Its number.
    target: Which reader.
    kind: "exception", "crash", "hang" or "memory".
    detail: The traceback, or what is known.
  """

  case: int
  target: str
  kind: str
  detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
  """The end of a plan.

  Attributes:
    read: Cases that were read whole, by target.
    refused: Cases that were refused, by target.
    growth: Most bytes of resident memory over the baseline.
    slowest: Seconds that the processor was busy with the slowest case.
    slowest_case: Its number.
  """

  read: Mapping[str, int]
  refused: Mapping[str, int]
  growth: int
  slowest: float
  slowest_case: int


def target_of(names: Sequence[str], case: int) -> str:
  """The target whose turn it is."""
  return names[case % len(names)]


def input_of(target: fuzz_targets.Target, seed: int, case: int) -> bytes:
  """The bytes of a case."""
  rng = random.Random(f"{seed}/{case}")
  whole = rng.choice(target.seeds)
  front = whole[: target.front]
  data = fuzz_mutate.mutate(
    front, rng, others=target.seeds, tokens=target.tokens
  )
  data += whole[len(front) :]
  if target.repair is not None and rng.random() < _REPAIRED:
    data = target.repair(data)
  return data


def work(
  sender: connection.Connection,
  progress: sharedctypes.SynchronizedArray,
  plan: Plan,
  stderr: str,
) -> None:
  """Sends findings, and in the end what was done.

  Args:
    sender: Of the watching process.
    progress: Receives the number of the case, and by the clock and by the
      processor's time when it began; zeros between two.
    plan: What to do.
    stderr: File that takes what decoders print, and the stack of a crash; what
      is read lies beside it, where the watching process tidies up after one.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
  faulthandler.enable()
  warnings.simplefilter("ignore")
  python_logging.disable(python_logging.CRITICAL)
  beside = pathlib.Path(stderr).parent
  with tempfile.TemporaryDirectory(dir=beside) as folder:
    targets = plan.make(pathlib.Path(folder))
    for name in plan.names:
      for data in targets[name].seeds:
        _try(targets[name], data)  # what is loaded late is in the baseline
    sender.send(_run(sender, progress, plan, targets))


def _run(
  sender: connection.Connection,
  progress: sharedctypes.SynchronizedArray,
  plan: Plan,
  targets: Mapping[str, fuzz_targets.Target],
) -> Done:
  read = dict.fromkeys(plan.names, 0)
  refused = dict(read)
  baseline = peak()
  growth, slowest, slowest_case = 0, 0.0, plan.first
  for case in range(plan.first, plan.stop):
    name = target_of(plan.names, case)
    data = input_of(targets[name], plan.seed, case)
    if time.monotonic() > plan.until:
      break
    begin = time.process_time()
    progress[:] = (case, time.monotonic(), begin)
    error = _try(targets[name], data)
    progress[1:] = (0, 0)
    seconds = time.process_time() - begin
    if seconds > slowest:
      slowest, slowest_case = seconds, case
    growth = max(growth, peak() - baseline)
    if growth > plan.most_growth:
      kind, detail = "memory", f"grew by {growth / 1e6:.0f} MB"
      sender.send(_finding(case, name, kind, detail))
      break  # the peak stays: a fresh process goes on
    if error is None:
      read[name] += 1
    elif isinstance(error, targets[name].errors):
      refused[name] += 1
    else:
      text = "".join(traceback.format_exception(error))
      sender.send(_finding(case, name, "exception", text))
  return Done(
    read=read,
    refused=refused,
    growth=growth,
    slowest=slowest,
    slowest_case=slowest_case,
  )


def _finding(case: int, target: str, kind: str, detail: str) -> Finding:
  return Finding(case=case, target=target, kind=kind, detail=detail)


def _try(target: fuzz_targets.Target, data: bytes) -> Exception | None:
  try:
    target.read(data)
  except Exception as e:
    return e
  return None


def peak() -> int:
  """Most resident bytes of this process so far; see `fresh`."""
  found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
  return int(found[1]) * 1024 if found else 0
