"""The files that a measurement may leave: numbers as JSON, and a picture."""

import json
import pathlib
from typing import Any

from absl import flags
from matplotlib import figure as figure_lib

_FLAGS = {
  "json": "Local file for the numbers.",
  "plot": "Local file for the picture, PNG.",
}


def define_flags() -> None:
  for name, text in _FLAGS.items():
    flags.DEFINE_string(name, None, text)


def check() -> None:
  """Before hours of work.

  Raises:
    ValueError: a folder that is not there.
  """
  for name in _FLAGS:
    value = flags.FLAGS[name].value
    if value and not pathlib.Path(value).parent.is_dir():
      raise ValueError(f"--{name}: got {value}, expected an existing folder")


def write(result: dict[str, Any], picture: figure_lib.Figure) -> None:
  """What the flags ask for."""
  values = flags.FLAGS
  if values.json:
    pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")
  if values.plot:
    picture.savefig(values.plot, dpi=110, format="png")


def whole_numbers(flag: str, values: list[str], least: int = 1) -> list[int]:
  """Of a list flag.

  Raises:
    ValueError: something else, or a smaller one.
  """
  if wrong := [v for v in values if not v.isdigit() or int(v) < least]:
    raise ValueError(
      f"--{flag}: got {', '.join(wrong)}, expected numbers >= {least}."
    )
  return [int(value) for value in values]
