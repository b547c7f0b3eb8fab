"""Small files in ImgEdit-Bench's formats."""

import io
import json
import pathlib
import tarfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from unialign_jax.evals.imgedit import dataset

# Key, type, picture; two of one type, and one picture twice.
ITEMS = (
  ("1082", "adjust", "animal/1.jpg"),
  ("7", "adjust", "animal/2.jpg"),
  ("673", "style", "style/3.jpg"),
  ("90", "extract", "animal/1.jpg"),
)


def picture(shade: int, size=(12, 8), form: str = "JPEG") -> bytes:
  file = io.BytesIO()
  Image.new("RGB", size, (shade, shade, shade)).save(file, form)
  return file.getvalue()


def entries() -> dict[str, dict[str, str]]:
  return {
    key: {"id": name, "prompt": f"change {key}", "edit_type": kind}
    for key, kind, name in ITEMS
  }


def pictures() -> dict[str, bytes]:
  names = sorted({name for *_, name in ITEMS})
  return {name: picture(50 + 50 * n) for n, name in enumerate(names)}


def write_official(folder: pathlib.Path, inside: str = "") -> pathlib.Path:
  """basic_edit.json with the pictures in a folder beside it."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "basic_edit.json").write_text(json.dumps(entries()))
  for name, data in pictures().items():
    path = folder / inside / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return folder


def write_tar(folder: pathlib.Path) -> pathlib.Path:
  """The same with the pictures in Benchmark.tar."""
  folder.mkdir(parents=True)
  (folder / "basic_edit.json").write_text(json.dumps(entries()))
  with tarfile.open(folder / "Benchmark.tar", "w") as tar:
    for name, data in pictures().items():
      info = tarfile.TarInfo(f"Benchmark/singleturn/{name}")
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return folder


def write_mirror(folder: pathlib.Path) -> pathlib.Path:
  """The parquet mirror."""
  shown = pictures()
  rows = [
    {
      "key": key,
      "edit_type": kind,
      "prompt": f"change {key}",
      "image": {"bytes": shown[name], "path": name},
    }
    for key, kind, name in ITEMS
  ]
  (folder / "data").mkdir(parents=True)
  path = folder / "data" / "test-00000-of-00001.parquet"
  pq.write_table(pa.Table.from_pylist(rows), path)
  return folder


def whole() -> dict[str, dict[str, str]]:
  """As many entries of each type as the official file has."""
  kinds = [kind for kind, n in dataset.COUNTS.items() for _ in range(n)]
  return {
    str(n): {"id": "animal/1.jpg", "prompt": "x", "edit_type": kind}
    for n, kind in enumerate(kinds)
  }


def reply(*scores: Any) -> str:
  """A reply in the official format."""
  names = ("Prompt Compliance", "Visual Seamlessness", "Detail Fidelity")
  lines = [f"{name}: {score}" for name, score in zip(names, scores)]
  return "\n".join(["Brief reasoning: as asked.", *lines])
