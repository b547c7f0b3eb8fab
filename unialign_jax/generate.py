"""Draws pictures: from prompts, from instructions, from subjects.

  python -m unialign_jax.generate "a red circle" --model=WORKDIR --out=DIR
  ... --prompts-file=prompts.txt            a picture (or --n) of each line
  ... --image=a.png --instruction="..."     an edit; each --image is one
  ... --image=a.png --kind=depth            a map
  ... --image=cat.png --image=hat.png "a cat with a hat"      both subjects

A PNG holds the seed and all settings that made it. The same command goes on
where an earlier one stopped. docs/using.md tells more.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm
from absl import app
from absl import flags
from PIL import Image

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.data.sources import paraphrases
from unialign_jax.sampling import grid
from unialign_jax.use import command
from unialign_jax.use import outputs
from unialign_jax.use import picture_jobs
from unialign_jax.use import pictures_in
from unialign_jax.use import settings as settings_lib

_model = command.define_model()
_OUT = flags.DEFINE_string(
  "out", None, "Folder of the pictures.", required=True
)
_FILE = flags.DEFINE_string("prompts_file", "", "A text or JSON object a line.")
flags.DEFINE_alias("prompts-file", "prompts_file")
_IMAGE = flags.DEFINE_multi_string("image", [], "Picture to begin with.")
_INSTRUCTION = flags.DEFINE_string("instruction", "", "What to do with it.")
_TASK = flags.DEFINE_enum(
  "task", None, picture_jobs.TASKS, "By default what the other flags suggest."
)
_KIND = flags.DEFINE_enum("kind", None, paraphrases.kinds(), "Of perception.")
_NEGATIVE = flags.DEFINE_string(
  "negative", "", "What guidance leads away from."
)
_N = flags.DEFINE_integer("n", 1, "Pictures of each, seeds in turn.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the first picture.", 0)
_GRID = flags.DEFINE_bool(
  "grid", False, "The --n pictures of each in one file."
)
_settings = command.define_image_settings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _File:
  """A picture file that is to be."""

  path: pathlib.Path
  job: picture_jobs.Job
  seeds: tuple[int, ...]
  made_by: dict[str, Any]


def main(argv: Sequence[str]) -> None:
  jobs = _jobs(" ".join(argv[1:]))
  pipe = pipeline_lib.Pipeline.load(**_model())
  settings = settings_lib.changed(pipe.image_settings, _settings())
  named = {**dataclasses.asdict(settings), **command.recorded(_model())}
  files = [file for i, job in enumerate(jobs) for file in _files(i, job, named)]
  todo = [f for f in files if not outputs.is_done(f.path, f.made_by)]
  pathlib.Path(_OUT.value).mkdir(parents=True, exist_ok=True)
  counts = [sum(len(f.seeds) for f in some) for some in (files, todo)]
  bar = tqdm.tqdm(
    total=counts[0], initial=counts[0] - counts[1], unit="image", smoothing=0
  )
  num_broken = 0
  with bar:
    for batch in _batches(todo, pipe.batch_size):
      num_broken += _draw(pipe, batch, settings, bar)
  if num_broken:
    raise command.Broken(f"{num_broken} of {len(files)} files are missing")


def _jobs(prompt: str) -> list[picture_jobs.Job]:
  if bool(prompt) + bool(_FILE.value) > 1:
    raise app.UsageError("got a prompt and --prompts-file, expected one.")
  common = {
    "task": _TASK.value,
    "kind": _KIND.value,
    "negative": _NEGATIVE.value,
    "seed": _SEED.value,
    "instruction": _INSTRUCTION.value,
  }
  if _FILE.value:
    return picture_jobs.read(_FILE.value, common, _IMAGE.value)
  return picture_jobs.make({**common, "prompt": prompt, "image": _IMAGE.value})


def _files(
  number: int, job: picture_jobs.Job, settings: dict[str, Any]
) -> list[_File]:
  seeds = tuple(range(job.seed, job.seed + _N.value))
  out = pathlib.Path(_OUT.value)
  if _GRID.value:
    made_by = {**job.made_by(job.seed, settings), "n": _N.value}
    path = out / f"{number:05d}-grid.png"
    return [_File(path=path, job=job, seeds=seeds, made_by=made_by)]
  return [
    _File(
      path=out / f"{number:05d}-{seed}.png",
      job=job,
      seeds=(seed,),
      made_by=job.made_by(seed, settings),
    )
    for seed in seeds
  ]


def _batches(files: Sequence[_File], size: int) -> list[list[_File]]:
  """Files with equally many condition images, for `size` pictures or more."""
  batches: list[list[_File]] = []
  for file in sorted(files, key=lambda f: len(f.job.images)):
    last = batches[-1] if batches else []
    is_other = last and len(last[0].job.images) != len(file.job.images)
    if not last or is_other or sum(len(f.seeds) for f in last) >= size:
      batches.append([])
    batches[-1].append(file)
  return batches


def _draw(
  pipe: pipeline_lib.Pipeline,
  files: Sequence[_File],
  settings: settings_lib.ImageSettings,
  bar: tqdm.tqdm,
) -> int:
  """Draws and writes; returns how many files a broken picture left out."""
  wanted, good = [], []
  for file in files:
    try:
      pictures = [
        pictures_in.square(name, settings.size, _model()["framing"])
        for name in file.job.images
      ]
    except ValueError as error:
      command.report(f"{file.path.name} ({', '.join(file.job.images)})", error)
      continue
    good.append(file)
    wanted += [
      pipeline_lib.Drawing(
        text=file.job.text,
        pictures=pictures,
        negative=file.job.negative,
        seed=seed,
      )
      for seed in file.seeds
    ]
  drawn = iter(pipe.draw(wanted, **dataclasses.asdict(settings)))
  for file in good:
    images = [next(drawn) for _ in file.seeds]
    image = _grid(file.job.text, images) if _GRID.value else images[0]
    outputs.save_png(file.path, image, file.made_by)
    bar.update(len(images))
  return len(files) - len(good)


def _grid(text: str, images: Sequence[Image.Image]) -> Image.Image:
  cell = grid.Cell(text, [np.asarray(image) for image in images])
  return Image.fromarray(grid.draw([[cell]], scale=1))


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
