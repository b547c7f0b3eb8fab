"""Which pictures a folder has, and where the caption of each one is."""

import csv
import dataclasses
import io
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import caption_text
from unialign_jax.data.sources import dataset_files
from unialign_jax.data.sources import jsonl
from unialign_jax.data.sources import rejection

_PICTURES = frozenset(
  (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
_TABLES = {"metadata": "metadata.jsonl", "csv": "captions.csv"}
_FILES = {"txt": ".txt", "json": ".json"}
CAPTIONS = ("auto", *_FILES, *_TABLES, "none")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
  """A picture, or something that should have led to one.

  Attributes:
    key: Path of the picture relative to the root; or what stands in its place.
    caption: Where a table has it.
    caption_file: Where a file beside the picture has it; relative to the root.
    reason: Of a rejection, else "".
    detail: Of that rejection.
  """

  key: str
  caption: str = ""
  caption_file: str = ""
  reason: str = ""
  detail: str = ""


def index(
  root: epath.Path, captions: str, keys: Sequence[str], recursive: bool
) -> list[Entry]:
  """The entries of a folder by key; see `folder.open_source`."""
  if captions not in CAPTIONS:
    raise base.SourceError(
      f"{root}: got captions={captions!r}, expected one of {CAPTIONS}"
    )
  files = _files(root, recursive)
  pictures = [file for file in files if _suffix(file) in _PICTURES]
  if not pictures:
    raise base.SourceError(
      f"{root}: got no picture among {len(files)} files, expected some of"
      f" {sorted(_PICTURES)}; check the root"
    )
  captions = _kind(root, captions, _kinds(files, pictures))
  if captions == "none":
    entries = [Entry(key=picture) for picture in pictures]
  elif captions in _TABLES:
    tables = [f for f in files if posixpath.basename(f) == _TABLES[captions]]
    entries = _listed(root, pictures, tables, keys)
  else:
    entries = _beside(pictures, _with_suffix(files, _FILES[captions]))
  return sorted(map(_printable, entries), key=lambda entry: entry.key)


def _kind(root: epath.Path, captions: str, found: set[str]) -> str:
  """The kind of captions to read, of those that were found."""
  if captions == "auto" and len(found) > 1:
    raise base.SourceError(
      f"{root}: got captions of the kinds {sorted(found)}, expected one; say"
      " which with captions="
    )
  if captions == "auto":
    return next(iter(found), "none")
  if captions != "none" and captions not in found:
    raise base.SourceError(
      f"{root}: got captions={captions!r} and no such captions, expected"
      f" {sorted(found) or 'none'}"
    )
  return captions


def _files(root: epath.Path, recursive: bool) -> list[str]:
  """Paths of the files relative to the root, hidden ones left out."""
  paths = (path.split("/") for path in dataset_files.walk(root))
  return [
    "/".join(parts)
    for parts in paths
    if (recursive or len(parts) == 1)
    and not any(part.startswith(".") for part in parts)
  ]


def _suffix(path: str) -> str:
  return posixpath.splitext(path)[1].lower()


def _stem(path: str) -> str:
  return _normal(posixpath.splitext(path)[0])


def _normal(path: str) -> str:
  """One spelling of letters with accents: file systems differ in theirs."""
  return unicodedata.normalize("NFC", path)


def _with_suffix(files: Sequence[str], suffix: str) -> list[str]:
  return [file for file in files if _suffix(file) == suffix]


def _kinds(files: Sequence[str], pictures: Sequence[str]) -> set[str]:
  """The kinds of captions that are there."""
  names = {posixpath.basename(file) for file in files}
  stems = {_stem(picture) for picture in pictures}
  found = {kind for kind, name in _TABLES.items() if name in names}
  for kind, suffix in _FILES.items():
    if not stems.isdisjoint(map(_stem, _with_suffix(files, suffix))):
      found.add(kind)
  return found


def _beside(
  pictures: Sequence[str], caption_files: Sequence[str]
) -> Iterator[Entry]:
  """Pictures and captions of the same stem."""
  pairs = defaultdict(lambda: ([], []))
  for picture in pictures:
    pairs[_stem(picture)][0].append(picture)
  for file in caption_files:
    pairs[_stem(file)][1].append(file)
  for same, texts in pairs.values():
    if not texts:
      yield from (Entry(key=picture) for picture in same)
    elif not same:
      yield from (
        Entry(key=text, reason="missing file", detail="no picture of that stem")
        for text in texts
      )
    elif len(same) == len(texts) == 1:
      yield Entry(key=same[0], caption_file=texts[0])
    else:
      detail = f"whose caption is which: {same + texts}"
      yield from (
        Entry(key=picture, reason="duplicate stem", detail=detail)
        for picture in same
      )


def _listed(
  root: epath.Path,
  pictures: Sequence[str],
  tables: Sequence[str],
  keys: Sequence[str],
) -> Iterator[Entry]:
  """Pictures that tables name, bad lines, and the pictures that none names."""
  by_name = {_normal(picture): picture for picture in pictures}
  named = set()
  for table in tables:
    for number, fields in _rows(root / table, keys):
      try:
        picture = _picture(fields, posixpath.dirname(table), by_name)
        if picture in named:
          raise rejection.Rejection("duplicate line", f"again {picture}")
        named.add(picture)
        caption = caption_text.from_fields(fields, keys)
      except rejection.Rejection as e:
        yield Entry(key=f"{table}:{number}", reason=e.reason, detail=e.detail)
      else:
        yield Entry(key=picture, caption=caption)
  yield from (Entry(key=p) for p in pictures if p not in named)


def _picture(
  fields: Mapping[str, Any] | rejection.Rejection,
  folder: str,
  by_name: Mapping[str, str],
) -> str:
  """Path of the picture that a line names."""
  if isinstance(fields, rejection.Rejection):
    raise fields
  name = fields.get("file_name")
  if not isinstance(name, str) or not name:
    raise rejection.Rejection("missing key", f"got file_name={name!r}")
  path = posixpath.normpath(posixpath.join(folder, name))
  if _normal(path) not in by_name:
    raise rejection.Rejection("missing file", path)
  return by_name[_normal(path)]


_Rows = Iterator[tuple[int, Mapping[str, Any] | rejection.Rejection]]


def _rows(path: epath.Path, keys: Sequence[str]) -> _Rows:
  """Numbers of the lines, and their fields or why there are none."""
  return _csv(path, keys) if _suffix(str(path)) == ".csv" else _jsonl(path)


def _jsonl(path: epath.Path) -> _Rows:
  lines = jsonl.Lines(path)
  for row in range(len(lines)):
    try:
      fields = lines[row]
    except ValueError as e:
      fields = rejection.Rejection("damaged line", str(e))
    yield lines.number(row), fields


def _csv(path: epath.Path, keys: Sequence[str]) -> _Rows:
  # Bytes that are no UTF-8 are passed through to fail in their own line.
  text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
  table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
  try:
    columns = table.fieldnames or ()
    if "file_name" not in columns or not set(keys) & set(columns):
      raise base.SourceError(
        f"{path}: got columns {list(columns)}, expected file_name and"
        f" {' or '.join(keys)}; set text_key"
      )
    for fields in table:
      # Cells beyond the last column, or too few of them.
      if None in fields or None in fields.values():
        fields = rejection.Rejection("damaged line", f"{fields}")
      yield table.line_num, fields
  except csv.Error as e:
    raise base.SourceError(
      f"{path} line {table.reader.line_num}: {e}; correct the line"
    ) from e


def _printable(entry: Entry) -> Entry:
  """Rejects a name that is not UTF-8: neither texts nor logs can hold it."""
  try:
    entry.key.encode()
  except UnicodeEncodeError:
    key = entry.key.encode(errors="backslashreplace").decode()
    return Entry(key=key, reason="file name not UTF-8")
  return entry
