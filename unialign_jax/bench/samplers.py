"""One model drawing and captioning, in JAX and in PyTorch, timed."""

import dataclasses
import itertools
import os
import pathlib
import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_SIDE = 64  # of the pictures that are captioned; both sides resize them
_WORDS = (
  ("small", "large"),
  ("red", "green", "blue", "yellow", "pink"),
  ("circle", "square", "star", "ring"),
  ("left", "right", "top", "bottom"),
  ("white", "gray", "beige", "mint", "lavender"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """Calls with one batch size.

  Attributes:
    batch_size: examples of a call.
    first_picture: seconds of the first call, compilation included.
    pictures: seconds of the calls after it.
    first_caption: likewise.
    captions: likewise.
  """

  batch_size: int
  first_picture: float
  pictures: list[float]
  first_caption: float
  captions: list[float]


def time_jax(
  model: str,
  cpu_devices: int,
  dtype: str,
  batch_sizes: Sequence[int],
  repeats: int,
) -> list[Timing]:
  """`Pipeline`'s; on CPUs, which are divided into so many devices."""
  # Compilation is part of what is measured.
  os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
  import jax

  from unialign_jax import pipeline

  jax.config.update("jax_num_cpu_devices", cpu_devices)
  pipe = pipeline.Pipeline.load(model, dtype=dtype, batch_size=max(batch_sizes))
  return _time(batch_sizes, repeats, pipe.generate, pipe.caption)


def time_torch(
  folder: pathlib.Path,
  is_compiled: bool,
  dtype: str,
  batch_sizes: Sequence[int],
  repeats: int,
) -> list[Timing]:
  """Of an exported folder; compiled are T5, transformer and VAE.

  Raises:
    ValueError: torch or diffusers are not there.
  """
  try:
    import diffusers
    import torch
  except ImportError as error:
    raise ValueError(
      f"--against=torch: {error}; install torch, diffusers and transformers."
    ) from error

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  pipe = diffusers.DiffusionPipeline.from_pretrained(
    folder, trust_remote_code=True, torch_dtype=getattr(torch, dtype)
  )
  pipe.to("cuda" if torch.cuda.is_available() else "cpu")
  pipe.set_progress_bar_config(disable=True)
  if is_compiled:
    for part in (pipe.transformer, pipe.text_encoder_3):
      part.compile(dynamic=False)
    for part in (pipe.vae.encoder, pipe.vae.decoder):
      part.compile(dynamic=False)
  return _time(
    batch_sizes, repeats, lambda prompts: pipe(prompts).images, pipe.caption
  )


def export(model: str, out: pathlib.Path) -> None:
  """The folder for PyTorch of a workdir, or of a folder without its code.

  Raises:
    ValueError: neither of them.
  """
  from unialign_jax.convert import export_folder
  from unialign_jax.convert import model_card
  from unialign_jax.convert import run_weights
  from unialign_jax.use import loading

  if loading.is_workdir(model):
    config, params, run, step = run_weights.read(model, ema=True)
    origin = model_card.Origin(
      run=run, step=step, weights="ema", dtype="float32"
    )
    export_folder.write(out, config, params, origin, target="diffusers")
    return
  place = pathlib.Path(loading.place(model))
  if not (place / "model_index.json").exists():
    raise ValueError(
      f"--model: got {model}, expected a workdir or an exported folder with a"
      " model_index.json for --against=torch."
    )
  shutil.copytree(place, out)
  export_folder.copy_code(out)


def _time(
  batch_sizes: Sequence[int],
  repeats: int,
  draw: Callable[[list[str]], Any],
  caption: Callable[[list[Image.Image]], Any],
) -> list[Timing]:
  given = (_prompts(), _pictures())
  return [_of_size(n, repeats, draw, caption, *given) for n in batch_sizes]


def _of_size(
  size: int,
  repeats: int,
  draw: Callable[[list[str]], Any],
  caption: Callable[[list[Image.Image]], Any],
  prompts: Iterator[str],
  pictures: Iterator[Image.Image],
) -> Timing:
  drawn = [_seconds(draw, prompts, size) for _ in range(repeats + 1)]
  captioned = [_seconds(caption, pictures, size) for _ in range(repeats + 1)]
  return Timing(
    batch_size=size,
    first_picture=drawn[0],
    pictures=drawn[1:],
    first_caption=captioned[0],
    captions=captioned[1:],
  )


def _seconds(
  function: Callable[[list[Any]], Any], source: Iterator[Any], size: int
) -> float:
  """Of one call, with results on the host."""
  given = list(itertools.islice(source, size))
  start = time.perf_counter()
  function(given)
  return time.perf_counter() - start


def _prompts() -> Iterator[str]:
  """Over and over, each of 800: too many for a cache of text features."""
  for size, color, shape, place, ground in itertools.cycle(
    itertools.product(*_WORDS)
  ):
    yield f"a {size} {color} {shape} at the {place}, on {ground}"


def _pictures() -> Iterator[Image.Image]:
  """Patches of four colours, each picture another."""
  rng = np.random.default_rng(0)
  while True:
    patches = rng.integers(0, 256, (2, 2, 3), np.uint8)
    yield Image.fromarray(patches.repeat(_SIDE // 2, 0).repeat(_SIDE // 2, 1))
