"""Draws what a benchmark wants of a model.

What is finished is never drawn again; a picture is whole or not there, and
holds what made it. Shard i of n makes every n-th batch, so shards need the
same batch size, and nothing else in common but the folder.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tqdm

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.evals import batches
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.use import command
from unialign_jax.use import outputs
from unialign_jax.use import pictures_in
from unialign_jax.use import settings as settings_lib

FRAMING = "crop"  # where neither the user nor the benchmark says


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """How everything of one folder is made.

  Attributes:
    out: the folder.
    model: what tells this model from others, for the pictures' metadata.
    image: settings of pictures that the user gave; they come before those
      that a benchmark asks for, and these before the model's own.
    text: settings of texts that the user gave.
    framing: how condition images become squares, if the user says.
    shard: the part of the work.
  """

  out: pathlib.Path
  model: Mapping[str, Any]
  image: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  framing: str | None = None
  shard: folder.Shard = dataclasses.field(default_factory=folder.Shard)


def pictures(
  pipe: pipeline_lib.Pipeline,
  wanted: Sequence[benchmark_lib.Wanted],
  job: Job,
) -> int:
  """Draws what is not there yet of this shard.

  Returns:
    How many a condition image that cannot be read left out; each was named.

  Raises:
    ValueError: two pictures of one path, or a picture of other settings in
      the folder.
  """
  batches.check_unique("path", [one.path for one in wanted])
  mine = batches.shared_out(
    wanted,
    lambda one: (one.group, len(one.images), one.guidance, one.steps),
    pipe.batch_size,
    job.shard,
  )
  log = outputs.Lines(str(folder.log(job.out, "batches", job.shard)))
  painter = _Painter(pipe, job)
  todo = [[one for one in batch if not painter.is_done(one)] for batch in mine]
  num_broken = 0
  with batches.bar("image", mine, todo) as bar:
    for batch in filter(None, todo):
      num_broken += painter.paint(batch, log, bar)
  return num_broken


class _Painter:
  """Draws batches of `Wanted`s; knows how each is to be made."""

  def __init__(self, pipe: pipeline_lib.Pipeline, job: Job):
    self._pipe = pipe
    self._job = job
    self._digests: dict[pathlib.Path, str] = {}

  def is_done(self, one: benchmark_lib.Wanted) -> bool:
    path = self._job.out / one.path
    return path.exists() and outputs.is_done(path, self._made_by(one))

  def paint(
    self,
    batch: Sequence[benchmark_lib.Wanted],
    log: outputs.Lines,
    bar: tqdm.tqdm,
  ) -> int:
    """Draws and writes; returns how many a broken picture left out."""
    settings = self._settings(batch[0])
    drawings, good = [], []
    for one in batch:
      try:
        drawings.append(self._drawing(one, settings.size))
        good.append(one)
      except ValueError as error:
        names = ", ".join(map(batches.name, one.images))
        command.report(f"{one.path} ({names})", error)
    if good:
      with batches.logged(log, self._pipe, good[0].group, len(good)):
        drawn = self._pipe.draw(drawings, **dataclasses.asdict(settings))
      for one, image in zip(good, drawn, strict=True):
        path = self._job.out / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.save_png(path, image, self._made_by(one))
    bar.update(len(batch))
    return len(batch) - len(good)

  def _settings(self, one: benchmark_lib.Wanted) -> settings_lib.ImageSettings:
    asked = {"guidance": one.guidance, "steps": one.steps}
    return settings_lib.changed(
      settings_lib.changed(self._pipe.image_settings, asked), self._job.image
    )

  def _framing(self, one: benchmark_lib.Wanted) -> str:
    return self._job.framing or one.framing or FRAMING

  def _drawing(
    self, one: benchmark_lib.Wanted, size: int
  ) -> pipeline_lib.Drawing:
    return pipeline_lib.Drawing(
      text=one.text,
      pictures=[
        pictures_in.square(image, size, self._framing(one))
        for image in one.images
      ],
      negative=one.negative,
      seed=one.seed,
    )

  def _made_by(self, one: benchmark_lib.Wanted) -> dict[str, Any]:
    return {
      "text": one.text,
      "negative": one.negative,
      "seed": one.seed,
      "group": one.group,
      "images": [self._digest(image) for image in one.images],
      "framing": self._framing(one) if one.images else None,
      **dataclasses.asdict(self._settings(one)),
      **self._job.model,
    }

  def _digest(self, image: pathlib.Path | bytes) -> str | None:
    """sha256 of a file's bytes; None where it cannot be read."""
    if isinstance(image, bytes):
      return hashlib.sha256(image).hexdigest()
    if image not in self._digests:
      try:
        data = pathlib.Path(image).read_bytes()
      except OSError:
        return None
      self._digests[image] = hashlib.sha256(data).hexdigest()
    return self._digests[image]
