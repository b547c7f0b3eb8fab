"""What numbers were measured on."""

import os
import pathlib
import platform
from typing import Any

import jax

_GIB = 2**30


def describe() -> dict[str, Any]:
  """The machine, and the devices that JAX finds; starts JAX."""
  devices = jax.devices()
  return {
    "cores": _cores(),
    "processor": _processor(),
    "memory_gib": round(_memory() / _GIB, 1),
    "devices": len(devices),
    "device_kind": devices[0].device_kind,
    "python": platform.python_version(),
    "jax": jax.__version__,
    "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
  }


def load() -> float:
  """Processes that wanted a core in the last minute, these included."""
  return round(os.getloadavg()[0], 1)


def _cores() -> int:
  """That this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _processor() -> str:
  path = pathlib.Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.exists() else []
  for line in lines:
    if line.startswith("model name"):
      return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()


def _memory() -> int:
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
