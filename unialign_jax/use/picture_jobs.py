"""Pictures to be drawn, from a command line: what each is made of."""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data.sources import paraphrases
from unialign_jax.use import jobs

TASKS = ("generate", "edit", "perceive", "personalise")
FIELDS = ("prompt", "instruction", "kind", "image", "negative", "seed", "task")
_MOST_PICTURES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """One text and its condition images, to be drawn from one or more seeds.

  Attributes:
    task: one of `TASKS`.
    text: prompt or instruction.
    images: paths of the condition images.
    negative: what guidance leads away from.
    seed: of the first picture.
  """

  task: str
  text: str
  images: tuple[str, ...]
  negative: str
  seed: int

  def made_by(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into the picture's metadata."""
    return {**dataclasses.asdict(self), "seed": seed, **settings}


def read(
  path: str, common: Mapping[str, Any], images: Sequence[str]
) -> list[Job]:
  """Jobs of a file: lines of JSON in *.jsonl, otherwise a text a line.

  Args:
    path: of the file.
    common: fields by name, for lines that do not have them.
    images: paths for lines that name none.

  Raises:
    ValueError: an unreadable file, or lines that are no job.
  """
  if pathlib.Path(path).suffix == ".jsonl":
    rows = jobs.read_jsonl(path, FIELDS)
  else:
    has_images = bool(images) and common.get("task") != "personalise"
    name = "instruction" if has_images else "prompt"
    rows = [{name: line} for line in jobs.read_lines(path)]
  made, problems = [], []
  for number, row in enumerate(rows, start=1):
    row = {**common, **row, "image": row.get("image") or list(images)}
    try:
      made += make(row)
    except ValueError as error:
      problems.append(f"entry {number}: {error}")
  if problems:
    raise ValueError(f"{path}:\n  " + "\n  ".join(problems))
  return made


def make(row: Mapping[str, Any]) -> list[Job]:
  """The jobs of one entry: for edits and maps one an image.

  Args:
    row: some of `FIELDS`; "image" holds paths.

  Raises:
    ValueError: fields that are no task together.
  """
  images, task = tuple(row.get("image") or ()), row.get("task") or _task(row)
  if task not in TASKS:
    raise ValueError(f"task: got {task!r}, expected one of {TASKS}.")
  seed = row.get("seed") or 0
  if type(seed) is not int or not 0 <= seed < 2**32:
    raise ValueError(f"seed: got {seed!r}, expected a number below 2**32.")
  text = row.get("instruction") or row.get("prompt") or ""
  if task == "perceive" and not text and row.get("kind"):
    text = paraphrases.pick(row["kind"], str(seed))
  most = 0 if task == "generate" else _MOST_PICTURES
  alone = task in ("edit", "perceive")
  if not text or not isinstance(text, str):
    raise ValueError(f"{task}: got no text, expected {_wanted(task)}.")
  if bool(images) != bool(most) or (not alone and len(images) > most):
    raise ValueError(
      f"{task}: got {len(images)} images, expected"
      f" {f'1 to {most}' if most else 'none'}; change --image or --task."
    )
  negative = row.get("negative") or ""
  return [
    Job(task=task, text=text, images=shown, negative=negative, seed=seed)
    for shown in ([(image,) for image in images] if alone else [images])
  ]


def _task(row: Mapping[str, Any]) -> str:
  """The task that goes without saying."""
  if not row.get("image"):
    return "generate"
  if row.get("kind"):
    return "perceive"
  return "edit" if row.get("instruction") else "personalise"


def _wanted(task: str) -> str:
  return {
    "edit": "an instruction (--instruction)",
    "perceive": "a kind of map (--kind) or an instruction (--instruction)",
  }.get(task, "a prompt")
