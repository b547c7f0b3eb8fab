"""A web page over a model: draw, edit, perceive, personalise, understand.

  python -m unialign_jax.demo [--model=WORKDIR] [--port=7860]

Needs the extra `demo`. Without --model, the small Shapes model that comes with
the package. Only this machine can see the page, unless --host says otherwise:
whoever reaches it can use the model. docs/using.md tells more.
"""

import contextlib
import os
import pathlib
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence

from absl import app
from absl import flags

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.use import command
from unialign_jax.use import loading

_model = command.define_model(default=loading.SHIPPED)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address that listens.")
_PORT = flags.DEFINE_integer("port", 7860, "0 takes a free one.", 0, 65535)
_UPLOAD = flags.DEFINE_float("max_upload_mb", 10, "Of one file.", 0.01)
_PIXELS = flags.DEFINE_float(
  "max_megapixels", 16, "Of an uploaded picture.", 0.01
)


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"got arguments {argv[1:]}, expected flags alone.")
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  with tempfile.TemporaryDirectory(prefix="unialign-demo-") as folder:
    # Before gradio is imported. Uploads are gone with the page.
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
      import gradio  # noqa: F401, the import is the question
    except ImportError as error:
      raise ValueError(
        f"the page needs gradio ({error}); install the extra `demo`: pip"
        " install 'unialign_jax[demo]'."
      ) from error
    from unialign_jax.demo import actions
    from unialign_jax.demo import examples
    from unialign_jax.demo import page

    name = _model()["path"]
    pipe = pipeline_lib.Pipeline.load(**_model())
    pictures = pathlib.Path(folder) / "examples"
    pictures.mkdir()
    is_shapes = loading.is_shipped(name)
    blocks = page.build(
      actions.Actions(pipe, name, int(_PIXELS.value * 1e6)),
      examples.of_shapes(pictures) if is_shapes else examples.of_photographs(),
      name=name,
      limits=f"{_UPLOAD.value:g} MB and {_PIXELS.value:g} megapixels",
      for_images=pipe.image_settings,
      for_texts=pipe.text_settings,
    )
    try:
      url = page.launch(
        blocks,
        server_name=_HOST.value,
        server_port=_PORT.value or _free_port(),
        max_file_size=int(_UPLOAD.value * 2**20),
      )
    except OSError as error:
      raise ValueError(f"--host, --port: {error}; choose others.") from error
    print(f"The page is at {url} until Ctrl-C.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
      threading.Event().wait()
    blocks.close(verbose=False)


def _free_port() -> int:
  with socket.create_server((_HOST.value, 0)) as server:
    return server.getsockname()[1]


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
