"""SemGen-Bench on disk: 150 photographs, four prompts each.

A folder as the UniAlignment authors publish it, `semgen_bench.jsonl` with
`images/` beside it, or as `python -m unialign_jax.semgen build` makes one.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from etils import epath

from unialign_jax.features import files

LINES = "semgen_bench.jsonl"
IMAGES = "images"
VARIABLE = "UNIALIGN_SEMGEN"
SIZE = 150
# Of the lines that the authors released.
RELEASED_SHA256 = (
  "283526686ecad80dd56c618669ab97dc893a1f553b3b712e56766e149678c00c"
)


@dataclasses.dataclass(frozen=True)
class Group:
  """One of the four tasks.

  Attributes:
    name: in the paper's Table 4.
    field: of a line that has its prompt; also the folder of its pictures.
    is_edit: whether the photograph is edited, or a picture drawn from text.
  """

  name: str
  field: str
  is_edit: bool


GROUPS = (
  Group("T2I_Long", "t2i_long", is_edit=False),
  Group("T2I_Sem", "t2i_complex", is_edit=False),
  Group("Edit_Multi", "edit_multi", is_edit=True),
  Group("Edit_Sem", "edit_complex", is_edit=True),
)
FIELDS = ("image_id", "image_path", *(group.field for group in GROUPS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One photograph and what is asked of a model with it.

  Attributes:
    key: number of its line, from 0; names the pictures.
    image_id: the file's own number.
    photograph: path.
    prompts: by `Group.field`.
  """

  key: int
  image_id: int
  photograph: pathlib.Path
  prompts: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """All lines.

  Attributes:
    items: in order.
    sha256: of the lines.
  """

  items: Sequence[Item]
  sha256: str

  @property
  def is_released(self) -> bool:
    """Whether the lines are those of the authors."""
    return self.sha256 == RELEASED_SHA256


def load(folder: pathlib.Path | None, size: int = SIZE) -> Dataset:
  """Reads and checks a folder.

  Args:
    folder: which; None for that of $UNIALIGN_SEMGEN.
    size: lines that there have to be.

  Raises:
    ValueError: no folder, lines or photographs that are missing or not what
      they should be; all of them in one message.
  """
  folder = _folder(folder)
  path = folder / LINES
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{path}: cannot be read ({error}), expected SemGen-Bench's lines, with"
      f" {IMAGES}/ beside them; name the folder with --data or ${VARIABLE}"
    ) from error
  items, problems = [], []
  for key, line in enumerate(lines):
    try:
      items.append(_item(folder, key, line))
    except ValueError as error:
      problems.append(f"line {key + 1}: {error}")
  if len(lines) != size:
    problems.append(
      f"got {len(lines)} lines, expected {size}; for a set of another size"
      " give --set items=N"
    )
  if problems:
    raise ValueError(f"{path}:\n  " + "\n  ".join(problems[:20]))
  return Dataset(items=items, sha256=files.sha256(epath.Path(path)))


def _folder(folder: pathlib.Path | None) -> pathlib.Path:
  if folder is not None:
    return pathlib.Path(folder)
  named = os.environ.get(VARIABLE, "")
  if not named:
    raise ValueError(
      f"got neither --data nor ${VARIABLE}, expected the folder of"
      f" SemGen-Bench with {LINES} and {IMAGES}/"
    )
  return pathlib.Path(named)


def _item(folder: pathlib.Path, key: int, line: str) -> Item:
  try:
    fields = json.loads(line)
  except ValueError as error:
    raise ValueError(f"got no JSON ({error})") from error
  if not isinstance(fields, dict) or (missing := set(FIELDS) - set(fields)):
    got = sorted(missing) if isinstance(fields, dict) else FIELDS
    raise ValueError(f"got no {', '.join(got)}")
  prompts = {group.field: fields[group.field] for group in GROUPS}
  empty = [
    name
    for name, text in prompts.items()
    if not isinstance(text, str) or not text.strip()
  ]
  if empty:
    raise ValueError(f"got no text in {', '.join(empty)}")
  if fields["image_id"] != key + 1:
    raise ValueError(f"got image_id {fields['image_id']!r}, expected {key + 1}")
  # The authors' paths are of their machine; the name alone counts.
  name = pathlib.PurePosixPath(str(fields["image_path"])).name
  photograph = folder / IMAGES / name
  if not photograph.is_file():
    raise ValueError(f"got no file {photograph}")
  return Item(
    key=key,
    image_id=fields["image_id"],
    photograph=photograph,
    prompts=prompts,
  )
