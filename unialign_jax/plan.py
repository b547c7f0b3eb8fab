"""What a run needs of a slice that is not here: memory, time, images a second.

  python -m unialign_jax.plan --config=stage2.py --topology=v5e:8x8
    [--conditions=0:0.35,1:0.62,2:0.03] [--search] [--sample_batch=64] [--json]

Compiles the real train step of the config for the slice, once for each number
of condition images, with libtpu (extra `plan`); GPUs (h100:32) are planned by
formula. --search tries batches and remat policies. docs/tpu.md has a table.
"""

import json
import os
import sys
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

# The slice is somewhere else: nothing here is to be woken.
os.environ["JAX_PLATFORMS"] = "cpu"

from unialign_jax import command_line
from unialign_jax.planning import planner

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file: a path, or a name in configs/."
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Slice: v4, v5e, v5p, v6e and its shape, or h100:N, h200:N."
)
_CONDITIONS = flags.DEFINE_list(
  "conditions", ["0", "1"], "Condition images of a step, with shares if known."
)
_SEARCH = flags.DEFINE_bool(
  "search", False, "Find the largest batch and the lightest remat that fit."
)
_SAMPLE_BATCH = flags.DEFINE_integer(
  "sample_batch", 0, "Also the sampler, with so many pictures at once.", 0
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON.")
flags.mark_flags_as_required(["config", "topology"])


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.ERROR)
  config = planner.as_planned(_CONFIG.value)
  shares = planner.parse_conditions(_CONDITIONS.value)
  if _SEARCH.value:
    found = planner.search(config, _TOPOLOGY.value, tuple(shares))
    config = found.config
    print(found.told, file=sys.stderr)
  plan = planner.plan(
    config, _TOPOLOGY.value, shares, sample_batch=_SAMPLE_BATCH.value
  )
  print(json.dumps(plan.tree(), indent=2) if _JSON.value else plan.text())
  if not plan.fits:
    sys.exit(1)


def cli() -> None:
  """Runs `main`; what does not fit together is one message too."""
  command_line.run(main)


if __name__ == "__main__":
  cli()
