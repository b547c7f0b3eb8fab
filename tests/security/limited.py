"""Runs code in a process that may have little memory and time."""

import os
import subprocess
import sys

_LIMITED = """
import re, resource, sys
def size(name):
  text = open("/proc/self/status").read()
  return int(re.search(name + r":\\s+(\\d+) kB", text)[1]) * 1024
first, _, then = sys.argv[2].partition("# limited")
exec(first, globals())
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = size("VmRSS")
limit = size("VmSize") + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
exec(then, globals())
print(size("VmHWM") - before)
"""


def run(script: str, *, extra_bytes: int, seconds: float = 60.0) -> int:
  """Runs a script that may map so many bytes beyond what its imports need.

  Args:
    script: What comes before a line "# limited" has no limit.
    extra_bytes: Of address space.
    seconds: That it may take.

  Returns:
    Bytes of resident memory that it grew by.
  """
  done = subprocess.run(
    [sys.executable, "-c", _LIMITED, str(extra_bytes), script],
    env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    capture_output=True,
    text=True,
    timeout=seconds,
  )
  assert done.returncode == 0, done.stderr
  return int(done.stdout.splitlines()[-1])
