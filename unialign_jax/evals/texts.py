"""Has a model write what a benchmark asks: captions and answers.

As `generation` has it for pictures: once each, in shards, whole lines.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.evals import batches
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.evals import generation
from unialign_jax.use import command
from unialign_jax.use import outputs
from unialign_jax.use import pictures_in
from unialign_jax.use import settings as settings_lib


def write(
  pipe: pipeline_lib.Pipeline,
  asked: Sequence[benchmark_lib.Asked],
  job: generation.Job,
) -> int:
  """Writes what is not there yet of this shard.

  Returns:
    How many could not be asked; each was named.

  Raises:
    ValueError: two texts of one key, or other questions in the folder.
  """
  batches.check_unique("key", [one.key for one in asked])
  mine = batches.shared_out(
    asked, lambda one: (one.group, one.seed), pipe.batch_size, job.shard
  )
  done = _written(job.out, asked)
  todo = [[one for one in batch if one.key not in done] for batch in mine]
  log = outputs.Lines(str(folder.log(job.out, "batches", job.shard)))
  lines = outputs.Lines(str(folder.log(job.out, "texts", job.shard)))
  num_broken = 0
  with batches.bar("text", mine, todo) as bar:
    for batch in filter(None, todo):
      num_broken += _write_batch(pipe, batch, job, lines, log)
      bar.update(len(batch))
  return num_broken


def read(out: pathlib.Path) -> dict[str, str]:
  """What was written, by `Asked.key`."""
  return {row["key"]: row["text"] for row in folder.logged(out, "texts")}


def _write_batch(
  pipe: pipeline_lib.Pipeline,
  batch: Sequence[benchmark_lib.Asked],
  job: generation.Job,
  lines: outputs.Lines,
  log: outputs.Lines,
) -> int:
  """Writes texts; returns how many a broken picture or question left out."""
  settings = settings_lib.changed(pipe.text_settings, job.text)
  size, policy = pipe.image_settings.size, job.framing or generation.FRAMING
  wanted, good = [], []
  for one in batch:
    try:
      pipe.check_question(one.question)
      picture = pictures_in.square(one.picture, size, policy)
    except ValueError as error:
      command.report(f"{one.key} ({batches.name(one.picture)})", error)
      continue
    wanted.append(pipeline_lib.Writing(picture, one.question))
    good.append(one)
  if not good:
    return len(batch)
  with batches.logged(log, pipe, good[0].group, len(good)):
    written = pipe.write(
      wanted, seed=good[0].seed, **dataclasses.asdict(settings)
    )
  for one, text in zip(good, written, strict=True):
    row = {"key": one.key, "question": one.question, "seed": one.seed}
    lines.add({**row, "text": text})
  return len(batch) - len(good)


def _written(
  out: pathlib.Path, asked: Sequence[benchmark_lib.Asked]
) -> set[str]:
  """Keys of the texts that are there.

  Raises:
    ValueError: they answer something else.
  """
  wanted = {one.key: (one.question, one.seed) for one in asked}
  rows = folder.logged(out, "texts")
  for row in rows:
    got, expected = (row["question"], row["seed"]), wanted.get(row["key"])
    if got != expected:
      raise ValueError(
        f"--out: {out} has a text of another question: {row['key']} is of"
        f" {got}, expected {expected}; use another folder, or the same --set."
      )
  return {row["key"] for row in rows}
