"""Where ImgEdit's pictures and grades are: the names do not all agree.

The index gives some pictures another folder than the tars have. The grades
are in one JSON object by "folder/sample", with folders of a third kind.
Both as found in the published files by others; the form of a grade is not
documented: a number, or several, or a text with numbers in it.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from unialign_jax import strict_json
from unialign_jax.data.sources import base

SCORES = "all_dataset_gpt_score.json"
_NUMBERED = re.compile(r"_part\d+$")
# Folder in the index -> folder in the tar.
_FOLDERS = {
  "replace": "results",
  "results_adjust_canny_laion_part2": "",
  "results_content_understanding_part2": (
    "mnt/data/lzj/codes/shitedit_comfyui/results_content_understanding_part2"
  ),
}
# Folder in the index -> folder in the grades.
_GRADED = {
  "replace": "results",
  "results_extract_ref_part1": "results_extract_laion_part1",
  "results_compose_part6_fix": "results_compose_part6",
}
# Where the tars are published; they may be unpacked in there.
_UNPACKED = ("", "Singleturn/", "Multiturn/")
# Not the digits in "score1".
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def part(stem: str) -> str:
  """What a parquet file is about: "add_part0" -> "add"."""
  return _NUMBERED.sub("", stem)


def places(path: str, stem: str) -> Iterator[str]:
  """Paths at which a picture may be, the likeliest first.

  Args:
    path: As in the index.
    stem: Of the index file: those of "action" give bare file names, which
      lie in a folder "part1" of the tar "action_part1".
  """
  paths = [path]
  folder, _, rest = path.partition("/")
  if not rest:
    paths = [f"{stem.removeprefix('action_')}/{path}"]
  elif folder in _FOLDERS:
    paths.append(f"{_FOLDERS[folder]}/{rest}".removeprefix("/"))
  for unpacked in _UNPACKED:
    for name in paths:
      yield unpacked + name


class Grades:
  """The least grade of each sample.

  Args:
    root: Folder of the data set.

  Raises:
    SourceError: there is no file of grades, or it is damaged.
  """

  def __init__(self, root: str | os.PathLike):
    path = epath.Path(root) / SCORES
    try:
      grades = strict_json.row(path.read_bytes())
    except (OSError, ValueError) as e:
      raise base.SourceError(
        f"{path}: got {e}, expected the grades of all samples as JSON;"
        " download that file, or leave min_score at 0"
      ) from e
    if not isinstance(grades, dict):
      raise base.SourceError(
        f"{path}: got a {type(grades).__name__}, expected an object with a"
        " grade by sample; leave min_score at 0"
      )
    self._least = {}
    for name, grade in grades.items():
      if numbers := list(_numbers(grade)):
        folder, _, sample = name.rpartition("/")
        self._least[folder.partition("/")[0], sample] = min(numbers)

  def least(self, path: str) -> float | None:
    """Of the sample with that picture, "folder/sample/file"; None: ungraded."""
    folder, _, rest = path.partition("/")
    sample = rest.partition("/")[0]
    for name in (folder, _GRADED.get(folder)):
      if (name, sample) in self._least:
        return self._least[name, sample]
    return None


def _numbers(grade: Any) -> Iterator[float]:
  """All numbers in a grade, whatever it is made of."""
  if isinstance(grade, dict):
    grade = list(grade.values())
  if isinstance(grade, list):
    for item in grade:
      yield from _numbers(item)
  elif isinstance(grade, str):
    yield from (float(number) for number in _NUMBER.findall(grade))
  elif isinstance(grade, int | float) and not isinstance(grade, bool):
    yield float(grade)
