"""Writes the captions that a data set lacks, with a vision-language model.

  python -m unialign_jax.recaption --source=omniedit --root=DATA \\
    --out=captions.jsonl --endpoint=http://host:8000/v1 --model=NAME

asks any server that speaks the OpenAI protocol; `--local=FOLDER` runs a model
here, with PyTorch. The same command goes on after any end and tries failed
pictures anew. docs/recaption.md tells more.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from collections.abc import Sequence
from typing import Any

from absl import app
from absl import flags
from absl import logging

from unialign_jax import command_line
from unialign_jax import interrupts
from unialign_jax.data.sources import registry
from unialign_jax.features.captioning import ledger as ledger_lib
from unialign_jax.features.captioning import length
from unialign_jax.features.captioning import run as run_lib
from unialign_jax.vlm import asking

_SOURCE = flags.DEFINE_string("source", None, "Format of the data set.")
_ROOT = flags.DEFINE_string("root", None, "Folder of the data set, or gs://.")
_OPTION = flags.DEFINE_multi_string(
  "option", [], "key=value for the format; may be repeated."
)
_OUT = flags.DEFINE_string("out", None, "Captions file; local, appended to.")
_ENDPOINT = flags.DEFINE_string(
  "endpoint", None, "Server, with /v1; its key is read from OPENAI_API_KEY."
)
_LOCAL = flags.DEFINE_string(
  "local", None, "Folder or hub id of a model to run here instead."
)
_MODEL = flags.DEFINE_string(
  "model", None, "Name at the endpoint, and in the file; --local by default."
)
_TOKENIZER = flags.DEFINE_string(
  "tokenizer",
  "google-t5/t5-small",  # the vocabulary of T5 v1.1, which SD3 has
  "Folder or hub id of the text encoder's tokenizer.",
)
_TEXT_LENGTH = flags.DEFINE_integer(
  "text_length", 256, "Most tokens of a caption, with EOS.", lower_bound=2
)
_CONCURRENCY = flags.DEFINE_integer(
  "concurrency",
  32,
  "Requests at once; with --local, pictures of one batch.",
  lower_bound=1,
)
_MAX_SIDE = flags.DEFINE_integer(
  "max_side", 1024, "Longer side in pixels that is sent.", lower_bound=28
)
_TEMPERATURE = flags.DEFINE_float(
  "temperature", 0.0, "0 is greedy.", lower_bound=0
)
_MAX_TOKENS = flags.DEFINE_integer(
  "max_tokens", 400, "Most tokens of an answer.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the model's sampling.")
_TIMEOUT = flags.DEFINE_float(
  "timeout", 120.0, "Seconds to wait for an answer.", lower_bound=0.1
)
_RETRIES = flags.DEFINE_integer(
  "retries", 6, "Further attempts at a request.", lower_bound=0
)
_MAX_FAILURES = flags.DEFINE_integer(
  "max_failures", 100, "Failed pictures that stop the run.", lower_bound=0
)
flags.mark_flags_as_required(["source", "root", "out"])
_INTERRUPTED = 130  # as a shell has it after Ctrl-C


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags only.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # the client logs every request
  source = registry.open_source(
    _SOURCE.value, _ROOT.value, **command_line.options(_OPTION.value)
  )
  limit = length.Limit(
    length.load_tokenizer(_TOKENIZER.value), _TEXT_LENGTH.value
  )
  model = _captioner()
  ledger = ledger_lib.Ledger(_OUT.value)
  failures = ledger_lib.Failures(ledger.path.with_suffix(".failures.jsonl"))
  run = run_lib.Run(
    source,
    model,
    ledger=ledger,
    failures=failures,
    limit=limit,
    config=run_lib.RunConfig(
      model=_MODEL.value or _LOCAL.value,
      # One model, one batch at a time.
      concurrency=1 if _LOCAL.value else _CONCURRENCY.value,
      max_side=_MAX_SIDE.value,
      max_failures=_MAX_FAILURES.value,
    ),
  )
  try:
    asyncio.run(_interruptible(run.captions()))
  except KeyboardInterrupt:
    print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(_INTERRUPTED)
  finally:
    _report(run, ledger, failures)


async def _interruptible(work: Coroutine[Any, Any, None]) -> None:
  """Runs `work`; Ctrl-C ends it.

  A client's own time limits can swallow a cancellation that comes at the wrong
  moment, so it is asked for until it is heard.
  """
  task = asyncio.create_task(work)
  interrupted = asyncio.Event()
  asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
  waiting = asyncio.create_task(interrupted.wait())
  await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
  waiting.cancel()
  if not task.done():
    while not task.done():
      task.cancel()
      await asyncio.wait({task}, timeout=1.0)
    raise KeyboardInterrupt
  await task


def _captioner() -> asking.Model:
  decoding = asking.Decoding(
    temperature=_TEMPERATURE.value,
    max_tokens=_MAX_TOKENS.value,
    seed=_SEED.value,
  )
  if bool(_ENDPOINT.value) == bool(_LOCAL.value):
    raise ValueError(
      f"got --endpoint={_ENDPOINT.value} and --local={_LOCAL.value}, expected"
      " one of them"
    )
  if _LOCAL.value:
    from unialign_jax.vlm import local

    return local.Local(
      _LOCAL.value, decoding=decoding, batch_size=_CONCURRENCY.value
    )
  if not _MODEL.value:
    raise ValueError(
      "got no --model, expected the name under which the endpoint serves it"
    )
  from unialign_jax.vlm import endpoint

  return endpoint.Endpoint(
    _ENDPOINT.value,
    _MODEL.value,
    decoding=decoding,
    timeout=_TIMEOUT.value,
    retries=_RETRIES.value,
  )


def _report(
  run: run_lib.Run, ledger: ledger_lib.Ledger, failures: ledger_lib.Failures
) -> None:
  for what, count in sorted(run.counts.items()):
    print(f"{count:9d}  {what}")
  print(f"captions: {ledger.path}\nfailures of this run: {failures.path}")


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  errors = (ValueError, asking.Unusable, run_lib.TooManyFailures)
  interrupts.keep()
  try:
    app.run(main)
  except errors as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  cli()
