"""A folder of results: who made it with what, and how long it took.

settings.json             the model and its settings; one of each a folder
generated/*.jsonl         batches with their times, and texts, a file a shard
(pictures)                where the benchmark wants them
"""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from etils import epath

from unialign_jax.evals import results
from unialign_jax.features import files

SETTINGS = "settings.json"
_LOGS = "generated"
_NOTED = "noted"


@dataclasses.dataclass(frozen=True)
class Shard:
  """Part `index` of `count` parts of the work, from 0.

  Raises:
    ValueError: there is no such part.
  """

  index: int = 0
  count: int = 1

  def __post_init__(self) -> None:
    if not 0 <= self.index < self.count:
      raise ValueError(
        f"--shard: got {self.index}/{self.count}, expected I/N with I from 0"
        " to N - 1."
      )

  @classmethod
  def parse(cls, text: str) -> "Shard":
    """Reads "I/N".

    Raises:
      ValueError: something else.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
      raise ValueError(
        f"--shard: got {text!r}, expected I/N, e.g. 0/4 for the first of four."
      )
    return cls(int(index), int(count))

  @property
  def name(self) -> str:
    return f"{self.index:05d}-of-{self.count:05d}"


def open_settings(
  out: pathlib.Path, settings: Mapping[str, Any], noted: Mapping[str, Any]
) -> str:
  """Writes `settings.json`, or compares it with what an earlier run wrote.

  Args:
    out: the folder.
    settings: what decides how the pictures look, JSON.
    noted: what is written down beside it, and may change.

  Returns:
    What of `noted` is not as it was, in words; "" if nothing.

  Raises:
    ValueError: the folder's pictures are of other settings.
  """
  path = out / SETTINGS
  wanted = json.loads(json.dumps({**settings, _NOTED: noted}))
  if not path.exists():
    text = json.dumps(wanted, indent=2, ensure_ascii=False)
    files.write(epath.Path(path), f"{text}\n".encode())
    return ""
  found = read_settings(out)
  then, now = found.pop(_NOTED, {}), wanted.pop(_NOTED)
  other = _differences(found, wanted)
  if other:
    raise ValueError(
      f"--out: {out} was begun with other settings:\n  "
      + "\n  ".join(other)
      + "\nUse another folder, or give the same settings."
    )
  return "; ".join(_differences(then, now))


def read_settings(out: pathlib.Path) -> dict[str, Any]:
  """`settings.json`; {} where the folder has none.

  Raises:
    ValueError: a file that is no JSON object.
  """
  path = out / SETTINGS
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise ValueError(
      f"{path}: got no JSON object, expected the settings that made this"
      " folder; use another folder."
    )
  return found


@contextlib.contextmanager
def locked(out: pathlib.Path, shard: Shard) -> Iterator[None]:
  """Keeps a second process from the same shard of a folder.

  Raises:
    ValueError: another one is at it.
  """
  path = log(out, "shard", shard).with_suffix(".lock")
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("ab") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(
        f"--out: another process makes shard {shard.index}/{shard.count} of"
        f" {out}; wait for it, or give each process its --shard=I/N."
      ) from error
    yield


def log(out: pathlib.Path, kind: str, shard: Shard) -> pathlib.Path:
  """Path of a shard's file of some kind."""
  return out / _LOGS / f"{kind}-{shard.name}.jsonl"


def logged(out: pathlib.Path, kind: str) -> list[dict[str, Any]]:
  """Rows of all shards' files of a kind; a torn last line is left out."""
  rows = []
  for path in sorted((out / _LOGS).glob(f"{kind}-*.jsonl")):
    data = path.read_bytes()
    for line in data[: data.rfind(b"\n") + 1].splitlines():
      rows.append(json.loads(line))
  return rows


def times(out: pathlib.Path) -> list[results.Time]:
  """Seconds a picture (or text) by group, of all runs that filled the folder.

  The time of whole batches over what is in them, without the batches in which
  something was compiled, and of the full ones alone where there are any: a
  batch that is not full costs as much as a full one.
  """
  by_group: dict[str, list[dict[str, Any]]] = {}
  for row in logged(out, "batches"):
    by_group.setdefault(row["group"], []).append(row)
  found = []
  for group, rows in by_group.items():
    warm = [row for row in rows if not row["compiled"]]
    used = [row for row in warm if row["full"]] or warm
    count = sum(row["count"] for row in used)
    seconds = sum(row["seconds"] for row in used)
    found.append(
      results.Time(
        group=group, seconds=seconds / count if count else None, counted=count
      )
    )
  return found


def _differences(
  old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[str]:
  """Every value that is not the same, e.g. "image.steps: was 28, is 50"."""
  found = []
  for key in sorted({*old, *new}):
    was, now = old.get(key), new.get(key)
    if isinstance(was, dict) and isinstance(now, dict):
      found += _differences(was, now, f"{prefix}{key}.")
    elif was != now:
      found.append(f"{prefix}{key}: was {was!r}, is {now!r}")
  return found
