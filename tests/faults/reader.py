"""Reads a feature set as training does, in a process that faults can hit.

  python -m tests.faults.reader FOLDER COUNT EXPECTATIONS

Prints "open" once the set is checked and waits for a line; then reads COUNT
elements and prints them, the damage, or the error. EXPECTATIONS are the fields
of `manifest.Expectations` as JSON: what would tell them takes long to import.
Pauses between attempts are
a hundred times shorter than a run's.
"""

import json
import logging
import sys
import time

from unialign_jax.data import damage
from unialign_jax.data import feature_set
from unialign_jax.data import shard_reader
from unialign_jax.features import manifest as manifest_lib


def main() -> None:
  folder, count, fields = sys.argv[1], int(sys.argv[2]), sys.argv[3]
  fields = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in json.loads(fields).items()
  }
  expectations = manifest_lib.Expectations(**fields)
  logging.getLogger("absl").setLevel(logging.WARNING)
  shard_reader.PAUSES = tuple(pause / 100 for pause in shard_reader.PAUSES)
  counter = damage.DamageCounter(cap=3)
  told = {"ids": []}
  try:
    opened = feature_set.FeatureSet(folder, expectations, counter)
    print("open", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    for index in range(count):
      element = opened.element(index, visit=0)
      told["ids"].append(int(element["record_id"]))
    told["seconds"] = time.monotonic() - begin
  except Exception as e:
    told["error"] = f"{type(e).__name__}: {e}"
  print(json.dumps(told | {"damaged": counter.count}))


if __name__ == "__main__":
  main()
