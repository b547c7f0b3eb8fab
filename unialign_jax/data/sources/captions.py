"""Fills the captions that a source lacks from a file of captions.

The file has JSON lines, as `python -m unialign_jax.recaption` writes them: one
a sample, found by `source` and `key`; the last line of a sample wins.
"""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import jsonl

_COMMAND = "python -m unialign_jax.recaption"
_TEXTS = ("source", "key", "caption", "model")


class WithCaptions:
  """A source whose missing captions come from a file.

  Samples that have a caption stay as they are, and so do questions. A
  text-to-image sample without instruction gets the caption for that as well.
  What is still without a caption is rejected as "no caption". 16 bytes a line
  stay in memory besides where the lines lie.

  Args:
    source: Any source.
    path: The file of captions. It may still be growing: the lines are those
      that are there now, and an unfinished last one is ignored.

  Raises:
    SourceError: no such file, or a damaged line.
  """

  def __init__(self, source: base.Source, path: str | os.PathLike):
    self._source = source
    self._path = epath.Path(path)
    self._lines = jsonl.Lines(self._path)
    hashes = np.array(self._hashes(), np.uint64)
    # Stable: lines of one sample stay in the order of the file.
    self._order = np.argsort(hashes, kind="stable")
    self._sorted = hashes[self._order]

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> base.Item:
    item = self._source[index]
    if isinstance(item, base.Rejected) or item.caption or item.question:
      return item
    line = self._find(item.source, item.key)
    caption = line["caption"].strip() if line else ""
    if not caption:
      return base.Rejected(
        key=item.key,
        source=item.source,
        reason="no caption",
        detail=f"{'an empty caption' if line else 'no line'} in {self._path};"
        f" write it with `{_COMMAND}`",
      )
    instruction = item.instruction
    if item.task == "text_to_image":
      instruction = instruction or caption
    return dataclasses.replace(
      item,
      caption=caption,
      caption_source=line["model"],
      instruction=instruction,
    )

  def _hashes(self) -> list[int]:
    hashes = []
    for index in range(len(self._lines)):
      try:
        line = self._line(index)
      except ValueError as e:
        if index == len(self._lines) - 1 and _unfinished(self._path):
          logging.warning("%s: ignored the unfinished last line", self._path)
          break
        raise base.SourceError(
          f"{e}; {self._path} should hold the JSON lines of `{_COMMAND}`:"
          " delete the line and run that command again"
        ) from e
      hashes.append(_hash(line["source"], line["key"]))
    return hashes

  def _line(self, index: int) -> dict[str, Any]:
    line = self._lines[index]
    for name in _TEXTS:
      if not isinstance(line.get(name), str):
        raise ValueError(
          f"{self._path} line {self._lines.number(index)}: got"
          f" {name}={line.get(name)!r}, expected a text"
        )
    return line

  def _find(self, source: str, key: str) -> dict[str, Any] | None:
    wanted = np.uint64(_hash(source, key))
    place = int(np.searchsorted(self._sorted, wanted, side="right")) - 1
    if place < 0 or self._sorted[place] != wanted:
      return None
    line = self._line(int(self._order[place]))
    # Two samples may share a hash, once in 10^7 files of a million lines.
    return line if (line["source"], line["key"]) == (source, key) else None


def _hash(source: str, key: str) -> int:
  data = f"{source}\0{key}".encode(errors="surrogatepass")
  return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _unfinished(path: epath.Path) -> bool:
  with path.open("rb") as file:
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
