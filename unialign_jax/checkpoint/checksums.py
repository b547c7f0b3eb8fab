"""Size and CRC-32 of every file of a step: what orbax does not check.

OCDBT checks its index. The chunks of arrays that the index points to, and the
JSON of `data` and `config`, are taken as they are: a flipped bit there is
another weight, or another position in the data. So a step folder has a file
that lists the others,

    {"state/_METADATA": [BYTES, "CRC-32 in hex"], ...}

less the two at the top that orbax writes last and no reader here depends on.
CRC-32 finds what disks and networks do to files (each burst of up to 32 bits,
all but one in 2^32 of anything else); it is no defence against a forger.
"""

import concurrent.futures
import errno
import json
import os
import pathlib
import zlib
from collections.abc import Iterable
from collections.abc import Mapping

import jax
import orbax.checkpoint as ocp

FILE = "checksums.json"
# In orbax's own metadata of a step that has had checksums.
MARK = {"checksums": True}
_METADATA = "_CHECKPOINT_METADATA"
_LAST = (_METADATA, "commit_success.txt")
_PART = "checksums.{}.json"  # of what one process has written
# All that can be asked of a folder from before there were checksums.
_NEEDED = ("state/_METADATA", "state/manifest.ocdbt")
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
_BLOCK = 1 << 22  # bytes read at once

Sum = tuple[int, str]


class SummingHandler(ocp.StandardCheckpointHandler):
  """Saves arrays; each process sums up the files that it has written.

  It does so in the background, once they are on disk and before the step has
  its name, so that no process reads what another one has written.
  """

  folder: pathlib.Path | None = None  # the step under way, while it is written

  async def async_save(
    self, directory: os.PathLike, *args: object, **kwargs: object
  ) -> list[ocp.future.Future]:
    futures = await super().async_save(directory, *args, **kwargs)
    self.folder = pathlib.Path(directory).parent
    part = pathlib.Path(directory) / _PART.format(jax.process_index())
    own = pathlib.Path(directory) / f"ocdbt.process_{jax.process_index()}"

    def add_up() -> None:
      if own.is_dir():  # host arrays are written by process 0 alone
        _write(part, _sums(_files(own), part.parent))

    return [ocp.future.ChainedFuture(futures or [], add_up)]


def seal(folder: pathlib.Path) -> None:
  """Writes the checksums of a step whose files are all there.

  Args:
    folder: of the step, its name not yet final.
  """
  found: dict[str, Sum] = {}
  for part in sorted((folder / "state").glob(_PART.format("*"))):
    sums = json.loads(part.read_text())
    found |= {f"state/{name}": tuple(sum_) for name, sum_ in sums.items()}
    part.unlink()
  top = {folder / name for name in _LAST}
  rest = [
    path
    for path in _files(folder)
    if path not in top and _name(path, folder) not in found
  ]
  _write(folder / FILE, found | _sums(rest, folder))


def problem(folder: pathlib.Path, index: int = 0, count: int = 1) -> str:
  """What is wrong with a step, "" if nothing is.

  Args:
    folder: of the step.
    index: this process looks at each `count`-th file, from this one.
    count: of processes that share the work.

  Raises:
    OSError: files that cannot be read, but not because of damage.
  """
  try:
    listed = _read(folder / FILE)
  except FileNotFoundError:
    return _problem_unlisted(folder)
  except (ValueError, AttributeError, TypeError, IndexError) as error:
    return f"{FILE}: no list of checksums ({error})"
  mine = sorted(listed)[index::count]
  with concurrent.futures.ThreadPoolExecutor(_threads()) as pool:
    told = pool.map(lambda name: _check(folder / name, listed[name]), mine)
    wrong = [f"{name}: {what}" for name, what in zip(mine, told) if what]
  more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
  return wrong[0] + more if wrong else ""


def is_listed(folder: pathlib.Path) -> bool:
  """Whether a step has checksums; an earlier version wrote none."""
  return (folder / FILE).exists()


def _problem_unlisted(folder: pathlib.Path) -> str:
  for name in _NEEDED:
    if not (folder / name).exists():
      return f"{name}: missing"
  try:
    metadata = json.loads((folder / _METADATA).read_text())
    marked = metadata["custom_metadata"] == MARK
  except (OSError, ValueError, KeyError, TypeError):
    marked = False  # of weights that were imported, or of long ago
  return f"{FILE}: missing" if marked else ""


def _check(path: pathlib.Path, expected: Sum) -> str:
  """What is wrong with a file; its size is looked at before its contents."""
  try:
    size = path.stat().st_size
    if size != expected[0]:
      return f"got {size} bytes, expected {expected[0]}"
    got = _sum(path)
  except OSError as error:
    if error.errno not in _DAMAGE:
      raise
    return "missing" if error.errno == errno.ENOENT else str(error.strerror)
  if got != expected:
    return f"got CRC-32 {got[1]}, expected {expected[1]}"
  return ""


def _sum(path: pathlib.Path) -> Sum:
  size, crc = 0, 0
  with path.open("rb", buffering=0) as f:
    block = bytearray(_BLOCK)
    while got := f.readinto(block):
      size, crc = size + got, zlib.crc32(memoryview(block)[:got], crc)
  return size, f"{crc:08x}"


def _sums(paths: Iterable[pathlib.Path], root: pathlib.Path) -> dict[str, Sum]:
  paths = list(paths)
  with concurrent.futures.ThreadPoolExecutor(_threads()) as pool:
    return {
      _name(path, root): sum_
      for path, sum_ in zip(paths, pool.map(_sum, paths))
    }


def _threads() -> int:
  """CRC-32 releases the interpreter, and a disk is slower than eight."""
  return min(8, os.cpu_count() or 1)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in folder.rglob("*") if path.is_file())


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
  return path.relative_to(root).as_posix()


def _read(path: pathlib.Path) -> dict[str, Sum]:
  return {
    name: (int(entry[0]), str(entry[1]))
    for name, entry in json.loads(path.read_text()).items()
  }


def _write(path: pathlib.Path, sums: Mapping[str, Sum]) -> None:
  lines = [f"{json.dumps(name)}: {json.dumps(sums[name])}" for name in sums]
  with path.open("w") as f:
    f.write("{\n" + ",\n".join(sorted(lines)) + "\n}\n")
    f.flush()
    os.fsync(f.fileno())
