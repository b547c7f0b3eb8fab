"""X2I: subject-driven pictures made from one to four pictures and a text.

Layout: jsonl files (`retrieval-single2single.jsonl`, `web_....jsonl`) and the
pictures, in trees or tars (the published split `.tar.gz` files are to be
joined and unpacked first). Rows have `task_type`, `instruction`,
`input_images` and `output_image` (`output_images` in X2I's own notes); no
caption of the target. The other sets of the family (X2I-mm-instruction,
X2I-computer-vision, X2I2) have the same rows; open each with its `task`.

An instruction names picture k as `<img><|image_k|></img>`. A text encoder
knows no such tag, so it is written as the words "image k", k being the place
among the conditions.
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import json_source
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import picture_tree
from unialign_jax.data.sources import rejection

NAME = "x2i"
LICENSE = "apache-2.0"
_SLOT = re.compile(r"(?:<img>\s*)?<\|image_(\d+)\|>(?:\s*</img>)?")


def open_source(
  root: str | os.PathLike,
  *,
  references: int = 1,
  task: str = "",
  manifests: str = "**/*.jsonl",
  images: str = "",
  slot: str = "image {}",
) -> base.Source:
  """Opens the rows with a given number of input pictures.

  Args:
    root: Holds the jsonl files and the pictures.
    references: 1 to 4 input pictures.
    task: One of `data.sample.TASKS`; "": "personalise" for one input picture
      and "personalise_multi" for more.
    manifests: Pattern of the jsonl files below root.
    images: Folder below root that the rows' paths start from.
    slot: What is written for the tag of picture k, with k in place of `{}`;
      "" drops the tags.

  Raises:
    SourceError: files are missing or not yet unpacked, or a bad option.
  """
  most = sample_lib.MAX_CONDITIONS
  if not 1 <= references <= most:
    raise base.SourceError(
      f"{NAME}: got references={references}, expected 1 to {most}"
    )
  task = task or ("personalise" if references == 1 else "personalise_multi")
  if task not in sample_lib.TASKS:
    raise base.SourceError(
      f"{NAME}: got task={task!r}, expected one of {sample_lib.TASKS}"
    )
  root = epath.Path(root)
  tree = picture_tree.open_tree(root / images)
  layout = _Format(references=references, task=task, slot=slot)
  return json_source.JsonSource(
    [
      json_source.Table(
        rows=jsonl.Lines(path),
        tree=tree,
        format=layout,
        name=os.fspath(path.relative_to(root).with_suffix("")),
        source=f"{NAME}/{path.stem}",
        license=LICENSE,
      )
      for path in jsonl.find(root, manifests)
    ]
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Format:
  references: int
  task: str
  slot: str

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    return (0,) if len(_inputs(fields)) == self.references else ()

  def build(self, row: json_source.Row) -> base.Raw:
    inputs = _inputs(row.fields)
    text = json_source.value(row.fields, "instruction")
    target = _output(row.fields)
    instruction = self._without_tags(json_source.text(text))
    return base.Raw(
      key=row.key,
      task=self.task,
      source=row.source,
      license=row.license,
      caption_source="",
      target=row.pictures([target])[0],
      conditions=row.pictures(inputs),
      instruction=json_source.text(instruction),
    )

  def _without_tags(self, instruction: str) -> str:
    numbers = {int(number) for number in _SLOT.findall(instruction)}
    if not numbers <= set(range(1, self.references + 1)):
      raise rejection.Rejection(
        "image tags differ",
        f"got tags {sorted(numbers)} for {self.references} input pictures",
      )
    return _SLOT.sub(lambda tag: self.slot.replace("{}", tag[1]), instruction)


def _inputs(fields: Mapping[str, Any]) -> list[Any]:
  return json_source.paths(json_source.value(fields, "input_images"))


def _output(fields: Mapping[str, Any]) -> Any:
  outputs = json_source.paths(
    json_source.value(fields, "output_image", "output_images")
  )
  if not outputs:
    raise rejection.Rejection("null image", "no output picture")
  if len(outputs) > 1:
    raise rejection.Rejection("several targets", f"got {outputs}")
  return outputs[0]
