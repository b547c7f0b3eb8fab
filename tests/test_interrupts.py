"""Ctrl-C in a callback that Python lets nothing out of."""

import signal
import subprocess
import sys

_PROGRAM = """
import gc, os, signal, sys, time
from unialign_jax import interrupts

if sys.argv[1] == "keep":
  interrupts.keep()

def callback(phase, info):
  gc.callbacks.remove(callback)
  os.kill(os.getpid(), signal.SIGINT)

gc.callbacks.append(callback)
try:
  gc.collect()
  time.sleep(2)
  print("went on")
except KeyboardInterrupt:
  print("stopped")
"""


def _run(how: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-c", _PROGRAM, how],
    capture_output=True,
    text=True,
    timeout=60,
    # A suite in the background passes on that Ctrl-C is ignored.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )


def test_it_is_not_lost():
  alone = _run("ignore")  # else the test below says nothing
  assert alone.stdout == "went on\n" and "KeyboardInterrupt" in alone.stderr
  kept = _run("keep")
  assert kept.stdout == "stopped\n" and kept.stderr == ""
