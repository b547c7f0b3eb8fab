"""A plain folder of pictures, with captions or without.

Captions lie in files beside the pictures (`a.jpg` and `a.txt` or `a.json`), in
`metadata.jsonl` (`file_name` and a text, as Hugging Face's imagefolder has it)
or in `captions.csv` (`file_name,caption`). Hidden files and folders are left
alone. A picture without caption keeps caption "", to be recaptioned.
"""

import os
from collections.abc import Sequence

from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import caption_text
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import folder_index
from unialign_jax.data.sources import rejection

NAME = "folder"
LICENSE = "not stated"


def open_source(
  root: str | os.PathLike,
  *,
  captions: str = "auto",
  text_key: str = "",
  recursive: bool = True,
  license: str = LICENSE,
) -> base.Source:
  """Opens a folder; its listing and its tables of captions are read now.

  Args:
    root: The folder.
    captions: "txt", "json", "metadata", "csv", or "none" where all pictures
      are to be captioned; "auto": whichever of them there is.
    text_key: Key or column of the caption in .json, metadata.jsonl and
      captions.csv; "": the first of prompt, caption and text that there is.
    recursive: Also pictures in folders below.
    license: Of the pictures.

  Raises:
    SourceError: no pictures; captions of more than one kind with "auto", or
      none of the kind asked for; a table without the columns.
  """
  root = epath.Path(root)
  keys = (text_key,) if text_key else caption_text.KEYS
  entries = folder_index.index(root, captions, keys, recursive)
  name = root.name or root.resolve().name
  return Folder(root, entries, keys, source=f"{NAME}/{name}", license=license)


class Folder:
  """The pictures of a folder in the order of their paths.

  Args:
    root: The folder.
    entries: See `folder_index.index`.
    keys: Of the caption in JSON files.
    source: See `base.Raw`.
    license: See `base.Raw`.
  """

  def __init__(
    self,
    root: epath.Path,
    entries: Sequence[folder_index.Entry],
    keys: Sequence[str],
    *,
    source: str,
    license: str,
  ):
    self._root = root
    self._entries = entries
    self._keys = keys
    self._source = source
    self._license = license

  def __len__(self) -> int:
    return len(self._entries)

  def __getitem__(self, index: int) -> base.Item:
    entry = self._entries[index]
    try:
      return self._raw(entry)
    except rejection.Rejection as e:
      return base.Rejected(
        key=entry.key, source=self._source, reason=e.reason, detail=e.detail
      )

  def _raw(self, entry: folder_index.Entry) -> base.Raw:
    if entry.reason:
      raise rejection.Rejection(entry.reason, entry.detail)
    caption = self._caption(entry)
    data = self._read(entry.key)
    if not data:
      raise rejection.Rejection("null image", "the file is empty")
    return base.Raw(
      key=entry.key,
      task="text_to_image",
      source=self._source,
      license=self._license,
      caption_source="dataset" if caption else "",
      target=base.Picture(data),
      instruction=caption,
      caption=caption,
    )

  def _caption(self, entry: folder_index.Entry) -> str:
    if not entry.caption_file:
      return entry.caption
    data = self._read(entry.caption_file)
    if entry.caption_file.lower().endswith(".json"):
      return caption_text.from_json(data, self._keys)
    return caption_text.from_text(data)

  def _read(self, path: str) -> bytes:
    try:
      return dataset_files.read_file(self._root / path)
    except FileNotFoundError as e:
      raise rejection.Rejection("missing file", path) from e
