"""GenEval's rule over a detector that runs here; resumed where it stopped."""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from PIL import Image
from PIL import ImageOps

from unialign_jax import strict_json
from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.geneval import colors as colors_lib
from unialign_jax.evals.geneval import detector as detector_lib
from unialign_jax.evals.geneval import layout
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import results
from unialign_jax.evals.geneval import rule
from unialign_jax.vlm import journal

# The official format, with two more fields.
FILE = "unofficial_results.jsonl"
MADE_BY = "scorer"


@dataclasses.dataclass(frozen=True)
class Eyes:
  """What looks at the pictures."""

  detector: detector_lib.Detector
  colors: colors_lib.Colors

  @property
  def identity(self) -> str:
    return f"{self.detector.identity}; {self.colors.identity}"


def run(
  out: pathlib.Path,
  found: Sequence[prompts.Prompt],
  samples: int,
  eyes: Eyes,
) -> list[results.Row]:
  """A row for each picture that is there, old ones from the file.

  Args:
    out: the folder of results; `FILE` in it is read and appended to.
    found: the prompts.
    samples: of each.
    eyes: what looks at the pictures.

  Raises:
    ValueError: the detector cannot find a class that is asked for, or a file
      is no picture.
  """
  _check_classes(found, eyes.detector.classes)
  file = journal.Journal(out / FILE)
  try:
    done = _read(file)
    return list(_rows(out, found, samples, eyes, file, done))
  finally:
    file.close()


def _rows(
  out: pathlib.Path,
  found: Sequence[prompts.Prompt],
  samples: int,
  eyes: Eyes,
  file: journal.Journal,
  done: Mapping[tuple[str, ...], results.Row],
) -> Iterator[results.Row]:
  for prompt in found:
    for number in range(samples):
      path = layout.sample(prompt.index, number)
      if not (out / path).exists():
        continue
      data = (out / path).read_bytes()
      made_by = {
        "filename": path,
        "metadata": json.dumps(dict(prompt.metadata)),
        MADE_BY: eyes.identity,
        "sha256": hashlib.sha256(data).hexdigest(),
      }
      row = done.get(tuple(made_by.values()))
      if row is None:
        fields = _look(_open(out / path, data), prompt, eyes) | made_by
        file.add(fields)
        row = results.row(fields)
      yield row


def _look(
  picture: Image.Image, prompt: prompts.Prompt, eyes: Eyes
) -> dict[str, Any]:
  """The verdict on a picture, in the official fields."""
  objects = rule.sure(eyes.detector.find(picture), prompt.tag)
  verdict = rule.judge(
    objects, prompt.metadata, functools.partial(eyes.colors.name, picture)
  )
  return {
    "tag": prompt.tag,
    "prompt": prompt.text,
    "correct": verdict.correct,
    "reason": verdict.reason,
    "details": json.dumps(
      {
        name: [[*found.box, found.confidence] for found in of_class]
        for name, of_class in objects.items()
      }
    ),
  }


def _open(path: pathlib.Path, data: bytes) -> Image.Image:
  try:
    picture = Image.open(io.BytesIO(data), formats=picture_files.FORMATS)
    return ImageOps.exif_transpose(picture).convert("RGB")
  except OSError as error:
    raise ValueError(
      f"{path}: got no picture ({error}), expected a PNG; remove it and make it"
      " again"
    ) from error


def _read(file: journal.Journal) -> dict[tuple[str, ...], results.Row]:
  """Rows of earlier runs by what they are of."""
  rows = [results.row(strict_json.row(line)) for line in file.lines()]
  names = ("filename", "metadata", MADE_BY, "sha256")
  return {tuple(row.fields[name] for name in names): row for row in rows}


def _check_classes(
  found: Sequence[prompts.Prompt], known: frozenset[str]
) -> None:
  asked = {
    clause["class"]
    for prompt in found
    for part in ("include", "exclude")
    for clause in prompt.metadata.get(part, ())
  }
  if unknown := sorted(asked - known):
    raise ValueError(
      f"--set detector: it has no class {unknown}, which the prompts ask for;"
      " expected a detector of all 80 classes of COCO"
    )
