"""Runs the reading process, and ends it where it hangs, crashes or grows.

Watched from outside: what hangs in a decoder cannot watch itself.
"""

import collections
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import connection

from unialign_jax.bench import fuzz_work

_SECONDS = 0.05  # between two looks
_START = 120.0  # seconds in which a fresh process is to begin
_PATIENCE = 5.0  # seconds in which a process is to tell where it hangs
_WAITING = 10  # times as long may a case take that waits
_MOST_FINDINGS = 100
_TAIL = 4000  # characters of a crash's stack


@dataclasses.dataclass(kw_only=True)
class Outcome:
  """What came of all cases.

  Attributes:
    read: Cases that were read whole, by target.
    refused: Cases that were refused as they should be, by target.
    findings: All others.
    growth: Most bytes that a process grew by.
    slowest: Seconds that the processor was busy with the slowest case.
    slowest_case: Its number.
    seconds: In all.
    cases: That were tried.
  """

  read: collections.Counter[str]
  refused: collections.Counter[str]
  findings: list[fuzz_work.Finding]
  growth: int = 0
  slowest: float = 0.0
  slowest_case: int = 0
  seconds: float = 0.0
  cases: int = 0


def run(
  plan: fuzz_work.Plan,
  *,
  case_seconds: float,
  tell: Callable[[int], None] = lambda case: None,
) -> Outcome:
  """Runs the cases of a plan, in as many processes as it takes.

  Args:
    plan: Which cases; it names its targets.
    case_seconds: What takes longer hangs: the processor's time of one case,
      or a tenth of its time by the clock.
    tell: Called with the number of the case now and then.

  Raises:
    RuntimeError: a process that does not begin, or too many findings.
  """
  outcome = Outcome(
    read=collections.Counter(), refused=collections.Counter(), findings=[]
  )
  begin = time.monotonic()
  first = plan.first
  with tempfile.TemporaryDirectory(prefix="unialign-fuzz-") as folder:
    stderr = pathlib.Path(folder) / "stderr"
    while first < plan.stop and time.monotonic() < plan.until:
      part = dataclasses.replace(plan, first=first)
      first = _Process(part, stderr, case_seconds, outcome, tell).watch()
      if len(outcome.findings) > _MOST_FINDINGS:
        raise RuntimeError(
          f"got {len(outcome.findings)} findings after case {first}, expected"
          f" none; the last one:\n{outcome.findings[-1].detail}"
        )
  outcome.cases = first - plan.first
  outcome.seconds = time.monotonic() - begin
  return outcome


class _Process:
  """One process that works on a plan until it ends."""

  def __init__(
    self,
    plan: fuzz_work.Plan,
    stderr: pathlib.Path,
    case_seconds: float,
    outcome: Outcome,
    tell: Callable[[int], None],
  ):
    self._plan = plan
    self._stderr = stderr
    self._case_seconds = case_seconds
    self._outcome = outcome
    self._tell = tell

  def watch(self) -> int:
    """Watches until the end; the number of the case to go on with."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    progress = context.Array("d", (-1, 0, 0), lock=False)
    process = context.Process(
      target=fuzz_work.work,
      args=(sender, progress, self._plan, str(self._stderr)),
    )
    process.start()
    sender.close()  # else the end of the other process goes unseen
    try:
      return self._watch(process, receiver, progress)
    finally:
      process.kill()
      process.join()

  def _watch(
    self,
    process: multiprocessing.Process,
    receiver: connection.Connection,
    progress: "multiprocessing.Array",
  ) -> int:
    begin = time.monotonic()
    while True:
      if receiver.poll(_SECONDS):
        try:
          message = receiver.recv()
        except EOFError:
          process.join()
          return self._ended(
            int(progress[0]), "crash", f"exit code {process.exitcode}"
          )
        if isinstance(message, fuzz_work.Done):
          return self._done(message, int(progress[0]))
        self._outcome.findings.append(message)
        if len(self._outcome.findings) > _MOST_FINDINGS:
          return message.case + 1
      case, since, busy = int(progress[0]), progress[1], progress[2]
      if case < 0 and time.monotonic() - begin > _START:
        raise RuntimeError(f"got no first case in {_START:g} s")
      if since and self._hangs(process.pid, since, busy):
        os.kill(process.pid, signal.SIGABRT)  # which tells where it is
        process.join(_PATIENCE)
        return self._ended(case, "hang", f"over {self._case_seconds:g} s")
      self._tell(case)

  def _hangs(self, pid: int, since: float, busy: float) -> bool:
    """A machine that has other work is slow; that is no fault of a reader."""
    seconds = time.monotonic() - since
    return seconds > self._case_seconds and (
      _busy(pid) - busy > self._case_seconds
      or seconds > _WAITING * self._case_seconds
    )

  def _done(self, done: fuzz_work.Done, last: int) -> int:
    outcome = self._outcome
    outcome.read.update(done.read)
    outcome.refused.update(done.refused)
    outcome.growth = max(outcome.growth, done.growth)
    if done.slowest > outcome.slowest:
      outcome.slowest, outcome.slowest_case = done.slowest, done.slowest_case
    return last + 1

  def _ended(self, case: int, kind: str, detail: str) -> int:
    stack = self._stderr.read_text(errors="replace")[-_TAIL:]
    if case < 0:
      raise RuntimeError(
        f"got a process that did not begin ({detail}): {stack}"
      )
    self._outcome.findings.append(
      fuzz_work.Finding(
        case=case,
        target=fuzz_work.target_of(self._plan.names, case),
        kind=kind,
        detail=f"{detail}\n{stack}",
      )
    )
    return case + 1


def _busy(pid: int) -> float:
  """Seconds that the processor was busy for a process."""
  stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  user, system = stat.rpartition(")")[2].split()[11:13]
  return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
