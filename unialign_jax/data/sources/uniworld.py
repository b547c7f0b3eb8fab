"""UniWorld-V1: JSON lists of conversations over trees of pictures.

A list file (`data.txt`) has a line `pictures,JSON,flag` a list, e.g.
`data/imgedit,json/imgedit/laion_add_part0_edit.json,true`; the flag switches
a loss weighting of UniWorld's own and is not used. Paths are relative to the
list file. What the rows of a list are is known from the name of the picture
folder, see uniworld_subsets.py.

A row has `image`, the paths of the references and then of the target, and
`conversations`, turns with `from` (human, gpt) and `value`. Text of the
sample is the last human turn less its `<image>` tags and line breaks; the
last gpt turn ends in `<gen_image>`, and all tags together are as many as the
pictures. Only text-to-image rows have a caption, which is that same text.

The pictures come in tars, which are read as they are or unpacked. That
edited regions are at least 1/100 of the picture was seen to by UniWorld and
is not measured again.
"""

import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import json_source
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import picture_tree
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import uniworld_subsets

NAME = "uniworld"
LICENSE = "mit"
DIRECTIONS = ("photo_to_map", "map_to_photo")


def open_source(
  root: str | os.PathLike,
  *,
  part: str = "edit",
  references: int | None = None,
  subsets: str = "*",
  direction: str = "both",
  min_side: int = 1024,
  list_file: str = "data.txt",
) -> base.Source:
  """Opens the rows of one part with a given number of references.

  Extracting a product and trying it on give pictures with another framing
  than their references, so that the task of `part="extract"` is
  "personalise", or "personalise_multi" with several references.

  Args:
    root: Holds the list file.
    part: One of `uniworld_subsets.PARTS`.
    references: Pictures before the target, 1 to 4; None: 1, and always 0 for
      text-to-image.
    subsets: Patterns of picture folders' names with commas between them, e.g.
      "coco2017_caption_canny*,unsplash_canny*".
    direction: Of perception: "both" or one of `DIRECTIONS`.
    min_side: Least short side of all pictures in pixels, in the sub-sets that
      were chosen so (OSP1024, OmniEdit, SEED-Data-Edit, PromptFix, StyleBooth,
      Ghibli, shop_product); 0 turns it off.
    list_file: Name of the list file.

  Raises:
    SourceError: files are missing, a damaged list, or a bad option.
  """
  count = _checked(part, references, direction)
  home = epath.Path(root)
  trees, tables = {}, []
  for images, path in _lists(home, home / list_file):
    if not _fits(images.name, subsets):
      continue
    subset = uniworld_subsets.named(images.name)
    if subset.part != part:
      continue
    if images not in trees:
      trees[images] = picture_tree.open_tree(images)
    tables.append(
      json_source.Table(
        rows=jsonl.List(path),
        tree=trees[images],
        format=_Format(
          subset=subset,
          references=count,
          direction=direction,
          min_side=min_side if subset.large else 0,
        ),
        name=f"{images.name}/{path.stem}",
        source=f"{NAME}/{images.name}",
        license=subset.license,
      )
    )
  if not tables:
    raise base.SourceError(
      f"{home / list_file}: got no list of part={part!r} and"
      f" subsets={subsets!r}, expected at least one; add its line, or change"
      " the options"
    )
  return json_source.JsonSource(tables)


def _checked(part: str, references: int | None, direction: str) -> int:
  """The number of references, once the options make sense."""
  if part not in uniworld_subsets.PARTS:
    raise base.SourceError(
      f"{NAME}: got part={part!r}, expected one of {uniworld_subsets.PARTS}"
    )
  if direction not in ("both", *DIRECTIONS):
    raise base.SourceError(
      f"{NAME}: got direction={direction!r}, expected both or one of"
      f" {DIRECTIONS}"
    )
  if part == "text_to_image":
    least, most = 0, 0
  else:
    least, most = 1, sample_lib.MAX_CONDITIONS
  count = least if references is None else references
  if not least <= count <= most:
    raise base.SourceError(
      f"{NAME}: got references={references} for part={part!r}, expected"
      f" {least} to {most}"
    )
  return count


def _lists(
  home: epath.Path, path: epath.Path
) -> list[tuple[epath.Path, epath.Path]]:
  """Picture folder and JSON file of each line."""
  form = "`pictures,JSON,true or false`"
  if not path.is_file():
    raise base.SourceError(
      f"{path}: got no such file, expected lines {form}, e.g."
      " `data/imgedit,json/imgedit/laion_add_part0_edit.json,true`; write it"
    )
  found = []
  for number, line in enumerate(path.read_text().splitlines(), 1):
    if not line.strip():
      continue
    columns = [column.strip() for column in line.split(",")]
    if len(columns) != 3 or columns[2].lower() not in ("true", "false"):
      raise base.SourceError(
        f"{path} line {number}: got {line!r}, expected {form}"
      )
    found.append((home / columns[0], home / columns[1]))
  return found


def _fits(name: str, patterns: str) -> bool:
  return any(
    fnmatch.fnmatchcase(name, pattern.strip())
    for pattern in patterns.split(",")
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Format:
  subset: uniworld_subsets.Subset
  references: int
  direction: str
  min_side: int

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    images = _images(fields)
    if len(images) != self.references + 1:
      return ()
    if self.direction == "both" or self.subset.part != "perception":
      return (0,)
    if not (direction := self._direction(images)):
      raise rejection.Rejection(
        "unknown direction", f"got target {images[-1]}, expected a number"
      )
    return (0,) if direction == self.direction else ()

  def build(self, row: json_source.Row) -> base.Raw:
    images = _images(row.fields)
    text = _instruction(row.fields, len(images))
    is_drawn = self.subset.part == "text_to_image"
    text = json_source.text(
      text, "empty caption" if is_drawn else "empty instruction"
    )
    source, map_style = row.source, ""
    if self.subset.part == "perception":
      if direction := self._direction(images):
        source = f"{source}/{direction}"
      map_style = self.subset.map_style or _drawn_style(images[-1])
    pictures = row.pictures(images)
    picture_size.check(pictures, min_side=self.min_side)
    return base.Raw(
      key=row.key,
      task=self._task(),
      source=source,
      license=row.license,
      caption_source="dataset" if is_drawn else "",
      target=pictures[-1],
      conditions=pictures[:-1],
      instruction=text,
      caption=text if is_drawn else "",
      map_style=map_style,
    )

  def _task(self) -> str:
    if self.subset.part != "extract":
      return self.subset.part
    return "personalise" if self.references == 1 else "personalise_multi"

  def _direction(self, images: list[Any]) -> str:
    """Which way the row goes; "" where the paths do not tell.

    In numbered folders even pictures are photos and odd ones their maps.
    """
    if not self.subset.both_ways:
      return "photo_to_map"
    stem = pathlib.PurePosixPath(str(images[-1])).stem
    if not (stem.isascii() and stem.isdigit()):
      return ""
    return "photo_to_map" if int(stem) % 2 else "map_to_photo"


def _images(fields: Mapping[str, Any]) -> list[Any]:
  images = json_source.paths(fields.get("image"))
  if not images:
    raise rejection.Rejection("null image", "the row is text only")
  return images


def _instruction(fields: Mapping[str, Any], count: int) -> str:
  """Text of the last human turn, if the tags fit `count` pictures."""
  turns = json_source.value(fields, "conversations")
  if not isinstance(turns, list) or not all(
    isinstance(turn, dict)
    and isinstance(turn.get("from"), str)
    and isinstance(turn.get("value"), str)
    for turn in turns
  ):
    raise rejection.Rejection("damaged conversation", f"got {turns!r}")
  last = {turn["from"]: turn["value"] for turn in turns}
  text = "".join(turn["value"] for turn in turns)
  references, targets = text.count("<image>"), text.count("<gen_image>")
  is_target_last = last.get("gpt", "").rstrip().endswith("<gen_image>")
  if references + targets != count or targets != 1 or not is_target_last:
    raise rejection.Rejection(
      "image tags differ",
      f"got {references} <image> and {targets} <gen_image> for {count}"
      " pictures, expected one <gen_image> at the end of the last gpt turn",
    )
  return last.get("human", "").replace("<image>", "").replace("\n", " ")


def _drawn_style(path: Any) -> str:
  """How the regions are drawn on the photo that path leads to."""
  folders = pathlib.PurePosixPath(str(path)).parts
  if "bbox" in folders:
    return "boxes_on_photo"
  if any(folder.startswith("seg") for folder in folders):
    return "segments_on_photo"
  raise rejection.Rejection(
    "unknown map style", f"got {path}, expected a folder bbox or seg_*"
  )
