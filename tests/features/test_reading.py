"""Items in order, by processes that read ahead and die with their parent."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from unialign_jax.data.sources import base
from unialign_jax.features import reading


class Numbers:
  """Items that tell their index and the process that read them."""

  def __init__(self, folder: pathlib.Path | None = None):
    self.folder = folder

  def __len__(self) -> int:
    return 40

  def __getitem__(self, index: int) -> base.Rejected:
    if self.folder:
      (self.folder / str(index)).touch()
    if index == 23:
      raise OSError("no such row group")
    if index == 31:
      os._exit(1)
    # The first of a chunk takes longest: order is not that of arrival.
    time.sleep(0.02 if index % 4 == 0 else 0)
    return base.Rejected(key=str(index), source=str(os.getpid()), reason="-")


class Pair(Numbers):
  """Items that wait until two processes are at work."""

  def __getitem__(self, index: int) -> base.Rejected:
    (self.folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 30
    while len(list(self.folder.iterdir())) < 2 and time.monotonic() < deadline:
      time.sleep(0.01)
    return base.Rejected(key=str(index), source=str(os.getpid()), reason="-")


def keys(stream) -> list[int]:
  return [int(item.key) for item in stream]


@pytest.mark.parametrize("processes", [0, 2])
def test_order_and_ranges(processes):
  ranges = [(3, 12), (20, 20), (14, 17)]
  read = reading.read(Numbers(), ranges, processes=processes, chunk=4)
  assert keys(read) == [*range(3, 12), *range(14, 17)]


def test_processes_share_the_work(tmp_path):
  read = reading.read(Pair(tmp_path), [(0, 20)], processes=2, chunk=1)
  owners = {item.source for item in read}
  assert len(owners) == 2 and str(os.getpid()) not in owners


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_names_the_item(processes):
  read = reading.read(Numbers(), [(20, 30)], processes=processes, chunk=2)
  with pytest.raises(reading.ReadError, match="item 23 of Numbers: got OSErr"):
    list(read)


def test_a_dead_process_is_heard():
  read = reading.read(Numbers(), [(28, 36)], processes=1, chunk=4)
  with pytest.raises(reading.ReadError, match=r"items 28 to 31.*out of memory"):
    list(read)


def test_reading_ahead_is_bounded(tmp_path):
  read = reading.read(Numbers(tmp_path), [(0, 20)], processes=1, chunk=2)
  next(read)
  time.sleep(0.5)
  # The chunk taken, and 2 x processes chunks less the one taken.
  assert len(list(tmp_path.iterdir())) <= 4
  read.close()


def test_a_decode_process_does_without_jax():
  code = (
    "import sys; from unialign_jax.features import reading;"
    " from unialign_jax.data.sources import decoded;"
    " print([m for m in ('jax', 'transformers') if m in sys.modules])"
  )
  run = [sys.executable, "-c", code]
  assert subprocess.check_output(run, text=True).strip() == "[]"


_PARENT = """
import multiprocessing
import sys
from tests.features import test_reading
from unialign_jax.features import reading
if __name__ == "__main__":
  read = reading.read(test_reading.Numbers(), [(0, 20)], processes=2)
  next(read)
  print([p.pid for p in multiprocessing.active_children()], flush=True)
  sys.stdin.read()
"""


def test_decode_processes_end_with_a_killed_parent(tmp_path):
  script = tmp_path / "parent.py"
  script.write_text(_PARENT)
  parent = subprocess.Popen(
    [sys.executable, script],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
  )
  children = json.loads(parent.stdout.readline())
  assert len(children) == 2 and all(map(is_alive, children))
  parent.send_signal(signal.SIGKILL)
  parent.wait()
  deadline = time.monotonic() + 10
  while any(map(is_alive, children)) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not any(map(is_alive, children))


def is_alive(pid: int) -> bool:
  try:
    state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1]
  except FileNotFoundError:
    return False
  return state.split()[0] != "Z"
