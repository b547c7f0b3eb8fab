"""Captions pictures and answers questions about them, into a JSON-lines file.

  python -m unialign_jax.understand --model=WORKDIR --out=texts.jsonl a.png ...
  ... --folder=DIR                      all pictures in it
  ... --jsonl=work.jsonl                {"image": ..., "question": ...} a line
  ... --question="what colour is it?"   an answer in place of a caption

Each line of --out has image, question and text. The same command goes on where
an earlier one stopped. docs/using.md tells more.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tqdm
from absl import flags

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.sampling import text as text_sampling
from unialign_jax.use import command
from unialign_jax.use import jobs
from unialign_jax.use import outputs
from unialign_jax.use import pictures_in
from unialign_jax.use import settings as settings_lib

_model = command.define_model()
_OUT = flags.DEFINE_string("out", None, "JSON-lines file.", required=True)
_FOLDER = flags.DEFINE_string("folder", "", "Folder of pictures.")
_JSONL = flags.DEFINE_string(
  "jsonl", "", "Pictures and questions, a line each."
)
_QUESTION = flags.DEFINE_string("question", "", "About all that have none.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the sampler.", 0)
_SETTINGS = {
  "steps": flags.DEFINE_integer("steps", None, "Of unmasking.", 1),
  "schedule": flags.DEFINE_enum(
    "schedule", None, text_sampling.SCHEDULES, "Order of unmasking."
  ),
  "temperature": flags.DEFINE_float(
    "temperature", None, "0 takes the likeliest token.", 0
  ),
}


@dataclasses.dataclass(frozen=True)
class _Asked:
  """One text that is wanted; "" asks for a caption."""

  image: str
  question: str


def main(argv: Sequence[str]) -> None:
  asked = _asked(argv[1:])
  lines = outputs.Lines(_OUT.value)
  pipe = pipeline_lib.Pipeline.load(**_model())
  given = {name: flag.value for name, flag in _SETTINGS.items()}
  settings = settings_lib.changed(pipe.text_settings, given)
  done = _done(lines, _made_by(settings))
  todo = [one for one in asked if one not in done]
  bar = tqdm.tqdm(
    total=len(asked),
    initial=len(asked) - len(todo),
    unit="image",
    smoothing=0,
  )
  num_broken = 0
  with bar:
    for start in range(0, len(todo), pipe.batch_size):
      batch = todo[start : start + pipe.batch_size]
      num_broken += _write(pipe, batch, settings, lines, bar)
  if num_broken:
    raise command.Broken(f"{num_broken} of {len(asked)} texts are missing")


def _asked(names: Sequence[str]) -> list[_Asked]:
  """All that is wanted, once each, in order."""
  asked = [_Asked(name, _QUESTION.value) for name in names]
  if _FOLDER.value:
    found = jobs.pictures_of(_FOLDER.value)
    asked += [_Asked(name, _QUESTION.value) for name in found]
  if _JSONL.value:
    for row in jobs.read_jsonl(_JSONL.value, ("image", "question")):
      question = row.get("question") or _QUESTION.value
      asked += [_Asked(name, question) for name in row["image"]]
  if not asked:
    raise ValueError(
      "got no picture, expected names of files, --folder or --jsonl."
    )
  return list(dict.fromkeys(asked))


def _made_by(settings: settings_lib.TextSettings) -> dict[str, Any]:
  named = dataclasses.asdict(settings)
  return {**command.recorded(_model()), "seed": _SEED.value, **named}


def _done(lines: outputs.Lines, made_by: dict[str, Any]) -> set[_Asked]:
  """What an earlier run has written, with the same settings.

  Raises:
    ValueError: the file holds texts of other settings.
  """
  for row in lines.rows:
    other = sorted(key for key in made_by if row.get(key) != made_by[key])
    if other:
      raise ValueError(
        f"--out: {_OUT.value} has texts of another {', '.join(other)}; name"
        " another file, or give the same settings."
      )
  return {_Asked(row["image"], row["question"]) for row in lines.rows}


def _write(
  pipe: pipeline_lib.Pipeline,
  asked: Sequence[_Asked],
  settings: settings_lib.TextSettings,
  lines: outputs.Lines,
  bar: tqdm.tqdm,
) -> int:
  """Writes texts; returns how many a broken picture left out."""
  side = pipe.image_settings.size
  wanted, good = [], []
  for one in asked:
    try:
      picture = pictures_in.square(one.image, side, _model()["framing"])
      pipe.check_question(one.question)
    except ValueError as error:
      command.report(one.image, error)
      continue
    good.append(one)
    wanted.append(pipeline_lib.Writing(picture, one.question))
  named = dataclasses.asdict(settings)
  texts = pipe.write(wanted, seed=_SEED.value, **named)
  for one, text in zip(good, texts):
    row = {**dataclasses.asdict(one), "text": text}
    lines.add({**row, **_made_by(settings)})
    bar.update()
  return len(asked) - len(good)


def cli() -> None:
  """Runs `main`; what cannot work is one message."""
  command.run(main)


if __name__ == "__main__":
  cli()
