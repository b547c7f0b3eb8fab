"""Serves a model to the clients of OpenAI's protocol.

  python -m unialign_jax.serve --model=WORKDIR [--port=8000]

Questions about pictures at /v1/chat/completions, pictures at
/v1/images/generations and /v1/images/edits. Needs the extra `serve`. Only this
machine is served, unless --host says otherwise: then set UNIALIGN_API_KEY,
which clients have to send. docs/serving.md tells more.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

from absl import app
from absl import flags

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.serving import engine as engine_lib
from unialign_jax.serving import flags as serving_flags
from unialign_jax.serving import policy as policy_lib
from unialign_jax.use import command
from unialign_jax.use import compile_cache
from unialign_jax.use import loading

_KEY = "UNIALIGN_API_KEY"
_model = command.define_model()
_policy = serving_flags.define()
_number, _whole = flags.DEFINE_float, flags.DEFINE_integer
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address that listens.")
_PORT = _whole("port", 8000, "0 takes a free one.", 0, 65535)
_WINDOW = _number("window_ms", 10, "That a first request waits for others.", 0)
_WAITING = _whole("max_waiting", 64, "Pictures and texts in the line.", 1)
_REQUESTS = _whole("max_requests", 128, "At once.", 1)
_BODY = _number("max_body_mb", 20, "Of a request.", 0.001)
_BODY_SECONDS = _number("body_timeout", 30, "Seconds for a body.", 0.001)
_WARM_UP = flags.DEFINE_bool("warm_up", False, "Compile before serving.")


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  try:
    from unialign_jax.serving import app as app_lib
    from unialign_jax.serving import batching
    from unialign_jax.serving import guard
    from unialign_jax.serving import server
  except ImportError as error:
    raise ValueError(
      f"the server needs starlette, uvicorn and python-multipart ({error});"
      " install the extra `serve`: pip install 'unialign_jax[serve]'."
    ) from error
  key = _key()
  listener = server.listen(_HOST.value, _PORT.value)
  is_local = guard.is_loopback(listener.getsockname()[0])
  if not is_local:
    _warn(has_key=key is not None)
  policy, pipe = _load()
  engine = engine_lib.Engine(pipe, policy.max_settings)
  if _WARM_UP.value:
    engine.warm_up(policy.text, policy.image)
  batcher = batching.Batcher(
    engine.run,
    batch_size=pipe.batch_size,
    window=_WINDOW.value / 1000,
    max_waiting=_WAITING.value,
  )
  api = app_lib.Api(batcher, pipe.texts.apart(), policy, int(time.time()))
  guarded = guard.Guard(
    app_lib.build(api),
    is_local=is_local,
    key=key,
    max_bytes=int(_BODY.value * 2**20),
    max_requests=_REQUESTS.value,
    body_seconds=_BODY_SECONDS.value,
  )
  where = server.url(listener)
  print(f"Serving {policy.name} at {where} until Ctrl-C.", flush=True)
  asyncio.run(server.serve(guarded, batcher, listener, patience=policy.timeout))


def _load() -> tuple[policy_lib.Policy, pipeline_lib.Pipeline]:
  compile_cache.enable()
  named = _model()
  loaded = loading.load_all(
    named["path"],
    dtype=named["dtype"],
    step=None,
    ema=True,
    encoders={key: named[key] for key in ("text", "tokenizer", "image")},
    quantize=named["quantize"],
  )
  pipe = pipeline_lib.Pipeline(
    loaded, batch_size=named["batch_size"], framing=named["framing"]
  )
  return _policy(named, loaded, pipe), pipe


def _key() -> str | None:
  """What clients have to send; in no flag, as these are for all to see.

  Raises:
    ValueError: an empty one.
  """
  key = os.environ.get(_KEY)
  if key is not None and not key.strip():
    raise ValueError(
      f"{_KEY}: got an empty one, expected a key, or the variable unset."
    )
  return key and key.strip()


def _warn(has_key: bool) -> None:
  who = f"who has {_KEY}" if has_key else f"anyone, as {_KEY} is not set"
  print(
    f"warning: --host={_HOST.value} is reached by other machines, and the model"
    f" can be used by {who}; what is sent is not encrypted.",
    file=sys.stderr,
  )


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
