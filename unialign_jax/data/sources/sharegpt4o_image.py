"""ShareGPT-4o-Image: 45,717 generated and 46,539 edited pictures of GPT-4o.

Layout: `text_to_image.json` and `text_and_image_to_image.json`, lists of
objects with `input_prompt`, `output_image` and, for edits, `input_image` (a
list of paths); the pictures lie in `text_to_image_part_*.tar` and
`text_and_image_to_image_part_*.tar`, or in the trees unpacked from them.
Edits come without captions.
"""

import dataclasses
import os
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

NAME = "sharegpt4o_image"
LICENSE = "not stated"
_MANIFESTS = {
  "text_to_image": "text_to_image.json",
  "edit": "text_and_image_to_image.json",
}


def open_source(
  root: str | os.PathLike, *, part: str = "text_to_image", references: int = 1
) -> base.Source:
  """Opens one of the two lists.

  Args:
    root: Holds the lists, and the tars or the unpacked trees.
    part: "text_to_image" or "edit".
    references: Of edits: takes the rows with so many input pictures.

  Raises:
    SourceError: files are missing, or a bad option.
  """
  if part not in _MANIFESTS:
    raise base.SourceError(
      f"{NAME}: got part={part!r}, expected one of {sorted(_MANIFESTS)}"
    )
  if part == "edit" and not 1 <= references <= sample_lib.MAX_CONDITIONS:
    raise base.SourceError(
      f"{NAME}: got references={references}, expected 1 to"
      f" {sample_lib.MAX_CONDITIONS}"
    )
  path = epath.Path(root) / _MANIFESTS[part]
  return json_source.JsonSource(
    [
      json_source.Table(
        rows=jsonl.List(path),
        tree=picture_tree.open_tree(root),
        format=_TextToImage() if part == "text_to_image" else _Edit(references),
        name=path.stem,
        source=f"{NAME}/{part}",
        license=LICENSE,
      )
    ]
  )


@dataclasses.dataclass(frozen=True)
class _TextToImage:
  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    del fields  # every row is one sample
    return (0,)

  def build(self, row: json_source.Row) -> base.Raw:
    prompt = json_source.value(row.fields, "input_prompt")
    caption = json_source.text(prompt, "empty caption")
    return base.Raw(
      key=row.key,
      task="text_to_image",
      source=row.source,
      license=row.license,
      caption_source="dataset",
      target=_target(row),
      instruction=caption,
      caption=caption,
    )


@dataclasses.dataclass(frozen=True)
class _Edit:
  references: int

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    return (0,) if len(_inputs(fields)) == self.references else ()

  def build(self, row: json_source.Row) -> base.Raw:
    prompt = json_source.value(row.fields, "input_prompt")
    return base.Raw(
      key=row.key,
      task="edit",
      source=row.source,
      license=row.license,
      caption_source="",
      instruction=json_source.text(prompt),
      target=_target(row),
      conditions=row.pictures(_inputs(row.fields)),
    )


def _inputs(fields: Mapping[str, Any]) -> list[Any]:
  inputs = json_source.paths(json_source.value(fields, "input_image"))
  if not inputs:
    raise rejection.Rejection("null image", "input_image is empty")
  return inputs


def _target(row: json_source.Row) -> base.Picture:
  (target,) = row.pictures([json_source.value(row.fields, "output_image")])
  return target
