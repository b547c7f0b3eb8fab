"""Readers with the faults that the watching process is to find."""

import os
import pathlib
import signal
import time

from unialign_jax.bench import fuzz_targets

_kept = []


def make(folder: pathlib.Path) -> dict[str, fuzz_targets.Target]:
  """Each fault strikes in about half of the cases."""
  del folder
  readers = {
    "sound": _refuse,
    "raises": lambda data: [][0],
    "hangs": _hang,
    "waits": lambda data: time.sleep(60),
    "grows": lambda data: _kept.append(b"\1" * 250_000_000),
    "dies": lambda data: os.kill(os.getpid(), signal.SIGSEGV),
  }
  return {
    name: fuzz_targets.Target(
      seeds=[b"x" * 40],
      read=lambda data, read=read: len(data) > 40 and read(data),
      errors=(ValueError,),
    )
    for name, read in readers.items()
  }


def _hang(data: bytes) -> None:
  while data:
    pass


def _refuse(data: bytes) -> None:
  raise ValueError(f"{len(data)} bytes")
