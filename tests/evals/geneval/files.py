"""Small files in GenEval's formats."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals.geneval import prompts

# One prompt of each task, in the official order of tasks.
LINES = (
  {
    "tag": "single_object",
    "include": [{"class": "bench", "count": 1}],
    "prompt": "a photo of a bench",
  },
  {
    "tag": "two_object",
    "include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1}],
    "prompt": "a photo of a cat and a dog",
  },
  {
    "tag": "counting",
    "include": [{"class": "clock", "count": 2}],
    "exclude": [{"class": "clock", "count": 3}],
    "prompt": "a photo of two clocks",
  },
  {
    "tag": "colors",
    "include": [{"class": "car", "count": 1, "color": "red"}],
    "prompt": "a photo of a red car",
  },
  {
    "tag": "position",
    "include": [
      {"class": "dog", "count": 1},
      {"class": "cat", "count": 1, "position": ["left of", 0]},
    ],
    "prompt": "a photo of a cat left of a dog",
  },
  {
    "tag": "color_attr",
    "include": [
      {"class": "cat", "count": 1, "color": "black"},
      {"class": "tv remote", "count": 1, "color": "white"},
    ],
    "prompt": "a photo of a black cat and a white tv remote",
  },
)


def write_prompts(
  path: pathlib.Path, lines: Sequence[dict[str, Any]] = LINES
) -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  return path


def whole() -> list[dict[str, Any]]:
  """As many lines of each task as the official file has."""
  by_tag = {line["tag"]: line for line in LINES}
  return [
    by_tag[tag] | {"prompt": f"{by_tag[tag]['prompt']}, number {n}"}
    for tag, count in prompts.COUNTS.items()
    for n in range(count)
  ]


def row(
  index: int, number: int, correct: bool, line: dict[str, Any] | None = None
) -> dict[str, Any]:
  """A line of evaluate_images.py's file."""
  line = LINES[index % len(LINES)] if line is None else line
  return {
    "filename": f"out/{index:05d}/samples/{number:05d}.png",
    "tag": line["tag"],
    "prompt": line["prompt"],
    "correct": correct,
    "reason": "" if correct else "expected bench>=1, found 0",
    "metadata": json.dumps(line),
    "details": "{}",
  }


def write_results(
  path: pathlib.Path, rows: Sequence[dict[str, Any]]
) -> pathlib.Path:
  # As pandas writes them: slashes are escaped.
  text = "".join(json.dumps(r).replace("/", "\\/") + "\n" for r in rows)
  path.write_text(text)
  return path
