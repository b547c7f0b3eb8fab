"""The command line of precompute.py, which tells how to use it."""

import signal
import sys
from collections.abc import Sequence

import jax
from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from unialign_jax import command_line
from unialign_jax import interrupts
from unialign_jax.features import job
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import merge
from unialign_jax.features import reading
from unialign_jax.features import settings
from unialign_jax.features import verify
from unialign_jax.features import worker as worker_lib

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file: a path, or a name in configs/."
)
_SOURCE = flags.DEFINE_string("source", None, "Format of the data set.")
_ROOT = flags.DEFINE_string("root", None, "Folder of the data set, or gs://.")
_OPTION = flags.DEFINE_multi_string(
  "option", [], "key=value for the format; may be repeated."
)
_CAPTIONS = flags.DEFINE_string(
  "captions", None, "Captions that the data set lacks, made by recaption."
)
_OUT = flags.DEFINE_string("out", None, "Folder of the feature set, or gs://.")
_WORKER = flags.DEFINE_string(
  "worker", None, "i/n: this is worker i of n; else by the environment."
)
_VERIFY = flags.DEFINE_bool("verify", False, "Read a finished set again.")
_MERGE = flags.DEFINE_bool(
  "merge", False, "Finish a set whose shards were copied into one folder."
)
flags.mark_flag_as_required("out")
_INTERRUPTED = 130  # as a shell has it after Ctrl-C


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # the bar tells how far it is
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  if _VERIFY.value:
    _verify()
  elif _MERGE.value:
    _tell(merge.merge(_OUT.value))
  else:
    _precompute()


def _verify() -> None:
  report = verify.verify(_OUT.value)
  print(report.table)
  for fault in report.faults:
    print(f"fault: {fault}")
  if report.faults:
    sys.exit(1)


def _precompute() -> None:
  for name in ("config", "source", "root"):
    if not flags.FLAGS[name].value:
      raise ValueError(f"--{name}: got none, expected one; see --help")
  config = settings.from_dict(_CONFIG.value)
  data = job.Data(
    source=_SOURCE.value,
    root=_ROOT.value,
    options=command_line.options(_OPTION.value),
    captions=_CAPTIONS.value or "",
  )
  worker = worker_lib.find(
    _WORKER.value, processes=(jax.process_index(), jax.process_count())
  )
  manifest = job.run(data, _OUT.value, config, worker)
  if manifest is None:
    print(
      f"{_OUT.value}: the shards of worker {worker.index} of {worker.count} are"
      " finished; the last worker writes the manifest (or --merge does)"
    )
  else:
    _tell(manifest)


def _tell(manifest: manifest_lib.Manifest) -> None:
  print(
    f"{_OUT.value}: {manifest.num_records} records in {len(manifest.shards)}"
    f" shards, {sum(manifest.rejected.values())} items rejected"
  )
  for reason, count in manifest.rejected.items():
    print(f"{count:9}  {reason}")


def cli() -> None:
  """Runs `main`; what does not fit together is one message."""
  interrupts.keep()
  try:
    app.run(main, flags_parser=command_line.parse_flags)
  except KeyboardInterrupt:
    print(
      "\nstopped; the same command goes on with the first unfinished shard",
      file=sys.stderr,
    )
    sys.exit(_INTERRUPTED)
  except (ValueError, reading.ReadError) as error:
    if logging.vlog_is_on(1):
      raise
    sys.exit(f"error: {error}\n(--verbosity=1 shows where)")
