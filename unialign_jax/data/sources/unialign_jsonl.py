"""The JSON lines that the UniAlignment authors' trainer reads.

Text-to-image: `image` [target], `conversations[0].value` its caption.
Edits: `image` [source, target], `conversations[0].value` the caption of the
target, `instruction`. Compositions: `original_images` the references,
`generated_images[0]` the target, `caption`, `edit_prompt`. From the authors'
data_unify.py.
"""

import dataclasses
import os
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import json_source
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import picture_tree
from unialign_jax.data.sources import rejection

NAME = "unialign_jsonl"
LICENSE = "not stated"
KINDS = ("t2i", "edit", "composition")
# What the authors' trainer strips from both ends of `edit_prompt`.
_STRAY = ' \\"'


def open_source(
  root: str | os.PathLike,
  *,
  kind: str = "t2i",
  references: int = 3,
  images: str | os.PathLike = "",
  license: str = LICENSE,
) -> base.Source:
  """Opens the lines of one kind.

  Args:
    root: A .jsonl file, or a folder with such files at any depth.
    kind: One of `KINDS`; lines of the other kinds are not in the source.
    references: 1 to 4, of compositions: lines with that many references; the
      authors' have 3.
    images: Folder that picture paths are relative to; "": root, or the
      file's folder. Absolute paths must lie in it.
    license: Of the data.

  Raises:
    SourceError: no files, no pictures, no line of the kind, or a value that an
      option does not have.
  """
  if kind not in KINDS:
    raise base.SourceError(
      f"{NAME}: got kind={kind!r}, expected one of {KINDS}"
    )
  if not 1 <= references <= sample_lib.MAX_CONDITIONS:
    raise base.SourceError(
      f"{NAME}: got references={references!r}, expected 1 to"
      f" {sample_lib.MAX_CONDITIONS}"
    )
  files = dataset_files.find(root, "**/*.jsonl")
  if not files:
    raise base.SourceError(
      f"{NAME}: got no .jsonl file in {root}, expected at least one; check the"
      " root"
    )
  root = epath.Path(root)
  images = epath.Path(images or (root if root.is_dir() else root.parent))
  tree = picture_tree.open_tree(images)
  return json_source.JsonSource(
    [
      json_source.Table(
        rows=jsonl.Lines(file),
        tree=tree,
        format=_Format(kind=kind, references=references, images=str(images)),
        name=name,
        source=f"{NAME}/{kind}",
        license=license,
      )
      for file, name in zip(files, dataset_files.stems(files))
    ]
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Format:
  """What a line means; see `json_source.Format`."""

  kind: str
  references: int
  images: str  # folder, without a slash at its end

  def parts(self, fields: Mapping[str, Any]) -> Iterable[int]:
    if _kind(fields) != self.kind:
      return ()
    if self.kind == "composition":
      number = len(json_source.paths(fields.get("original_images")))
      return (0,) if number == self.references else ()
    return (0,)

  def build(self, row: json_source.Row) -> base.Raw:
    kind = _kind(row.fields)
    if kind == "composition":
      return self._composition(row)
    caption = json_source.text(_caption(row.fields), "empty caption")
    if kind == "t2i":
      (target,) = self._pictures(row, "image", 1)
      return _raw(row, "text_to_image", target, (), caption, caption)
    source, target = self._pictures(row, "image", 2)
    instruction = json_source.text(row.fields.get("instruction"))
    return _raw(row, "edit", target, (source,), instruction, caption)

  def _composition(self, row: json_source.Row) -> base.Raw:
    references = self._pictures(row, "original_images", self.references)
    (target,) = self._pictures(row, "generated_images", 1)
    caption = json_source.text(row.fields.get("caption"), "empty caption")
    instruction = json_source.text(row.fields.get("edit_prompt"))
    instruction = json_source.text(instruction.strip(_STRAY))
    task = "personalise" if self.references == 1 else "personalise_multi"
    return _raw(row, task, target, references, instruction, caption)

  def _pictures(
    self, row: json_source.Row, name: str, number: int
  ) -> tuple[base.Picture, ...]:
    paths = json_source.paths(row.fields.get(name))
    if not paths:
      raise rejection.Rejection("null image", f"no {name}")
    if len(paths) != number:
      raise rejection.Rejection(
        "wrong number of pictures",
        f"got {len(paths)} in {name}, expected {number}",
      )
    return row.pictures(map(self._relative, paths))

  def _relative(self, path: Any) -> Any:
    if not isinstance(path, str):
      return path  # which the row rejects
    return path.removeprefix(f"{self.images}/")


def _kind(fields: Mapping[str, Any]) -> str:
  if {"original_images", "generated_images"} & fields.keys():
    return "composition"
  if "image" not in fields:
    raise rejection.Rejection(
      "missing key",
      f"got {sorted(fields)}, expected image, or original_images and"
      " generated_images",
    )
  pictures = json_source.paths(fields["image"])
  return "edit" if "instruction" in fields or len(pictures) > 1 else "t2i"


def _caption(fields: Mapping[str, Any]) -> Any:
  """`conversations[0].value`, or None."""
  turns = fields.get("conversations")
  if not isinstance(turns, list) or not turns:
    return None
  return turns[0].get("value") if isinstance(turns[0], dict) else None


def _raw(
  row: json_source.Row,
  task: str,
  target: base.Picture,
  conditions: tuple[base.Picture, ...],
  instruction: str,
  caption: str,
) -> base.Raw:
  return base.Raw(
    key=row.key,
    task=task,
    source=row.source,
    license=row.license,
    caption_source="dataset",
    target=target,
    conditions=conditions,
    instruction=instruction,
    caption=caption,
  )
