"""DPG-Bench's prompts: a text file each, or one JSON file of them.

Hu et al., 2024 (ELLA, arXiv 2403.05135): 1065 files `prompts/{item}.txt`, one
paragraph each. UniWorld-V1 packs them as {"{item}.txt": text}.
"""

import pathlib
from collections.abc import Iterable

from unialign_jax import strict_json

NUMBER = 1065
_PACKED = "dpgbench_prompts.json"


def read(data: pathlib.Path | None, partial: bool) -> dict[str, str]:
  """The prompts by item, sorted by it.

  Args:
    data: the folder of the official files, or of the text files alone, or
      UniWorld's JSON file or its folder.
    partial: whether another number of prompts will do.

  Raises:
    ValueError: no such files, texts that are none, two files of one item, or
      another number than the official one.
  """
  if data is None:
    raise ValueError(
      "--data: got none, expected DPG-Bench's folder (dpg_bench/ in the"
      f" official repository), its prompts/, or {_PACKED}."
    )
  found: dict[str, str] = {}
  problems = []
  for name, text in _files(data):
    # The scorer's way to the item; it also cuts what follows a first dot.
    item = name.split(".")[0]
    if item in found:
      problems.append(f"{name}: a second file of item {item!r}")
    if not isinstance(text, str) or not text.strip():
      problems.append(f"{name}: got {text!r}, expected a prompt")
    else:
      found[item] = text.strip()
  if problems:
    raise ValueError(
      f"{data}: get these prompts again:\n  " + "\n  ".join(problems[:20])
    )
  if len(found) != NUMBER and not partial:
    raise ValueError(
      f"{data}: got {len(found)} prompts, expected {NUMBER}. Get all files;"
      " --set partial=true takes a part of them."
    )
  return dict(sorted(found.items()))


def _files(data: pathlib.Path) -> Iterable[tuple[str, object]]:
  """Name and text of each prompt."""
  if data.is_dir():
    for folder in (data / "prompts", data):
      if names := sorted(folder.glob("*.txt")):
        return [(path.name, _text(path)) for path in names]
    data = data / _PACKED
  try:
    packed = strict_json.read(data)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{data}: got no prompts ({error}); expected prompts/*.txt in a folder,"
      f" or {_PACKED}."
    ) from error
  if not isinstance(packed, dict):
    raise ValueError(
      f"{data}: got {type(packed).__name__}, expected an object with a text a"
      " file name."
    )
  return packed.items()


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8")
  except ValueError as error:
    raise ValueError(
      f"{path}: cannot be read as UTF-8 ({error}); get it again."
    ) from error
